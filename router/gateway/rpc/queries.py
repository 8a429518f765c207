"""The unary methods that ask or steer: metadata, readiness, configuration, statistics, repository, settings.

Each turns its message into the call that the HTTP door makes too, and the document that comes back into a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError, Message

from router.gateway.catalogue import Catalogue
from router.gateway.names import read_version
from router.gateway.repository import Repository
from router.gateway.rpc.inference import Context, metadata_headers
from router.gateway.statistics import Statistics
from router.gateway.tuning import Tuning
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.protocol.pb import open_inference_pb2 as pb

_NO_SHARED_MEMORY: Final = "shared memory is not offered: send the data in the request"


class QueryMethods:
    """Everything unary but inference."""

    def __init__(self, catalogue: Catalogue, statistics: Statistics, repository: Repository, tuning: Tuning) -> None:
        self._catalogue = catalogue
        self._statistics = statistics
        self._repository = repository
        self._tuning = tuning

    async def server_live(self, _message: bytes, _context: Context) -> bytes:
        """Say that this process answers."""
        return _bytes(pb.ServerLiveResponse(live=True))

    async def server_ready(self, _message: bytes, _context: Context) -> bytes:
        """Say whether this router should get traffic."""
        return _bytes(pb.ServerReadyResponse(ready=self._catalogue.reason_unready() is None))

    async def model_ready(self, message: bytes, _context: Context) -> bytes:
        """Say whether a model, or one version, can answer."""
        request = parse(pb.ModelReadyRequest, message)
        reason = self._catalogue.reason_model_unready(request.name, read_version(request.version))
        return _bytes(pb.ModelReadyResponse(ready=reason is None))

    async def server_metadata(self, _message: bytes, _context: Context) -> bytes:
        """Server metadata."""
        return _bytes(pb.ServerMetadataResponse(**self._catalogue.server_metadata()))

    async def model_metadata(self, message: bytes, _context: Context) -> bytes:
        """Model metadata."""
        request = parse(pb.ModelMetadataRequest, message)
        document = self._catalogue.model_metadata(request.name, read_version(request.version))
        return _bytes(pb.ModelMetadataResponse(**document))

    async def model_config(self, message: bytes, _context: Context) -> bytes:
        """Triton's model configuration."""
        request = parse(pb.ModelConfigRequest, message)
        document = self._catalogue.model_config(request.name, read_version(request.version))
        return _bytes(ParseDict({"config": document}, pb.ModelConfigResponse()))

    async def model_statistics(self, message: bytes, _context: Context) -> bytes:
        """Statistics of one version, one model, or everything."""
        request = parse(pb.ModelStatisticsRequest, message)
        version = read_version(request.version)
        if request.name:
            self._catalogue.check_known(request.name, version)
        document = {"model_stats": await self._statistics.read(request.name, version)}
        return _bytes(ParseDict(document, pb.ModelStatisticsResponse()))

    async def repository_index(self, message: bytes, _context: Context) -> bytes:
        """List versions and where they stand."""
        request = parse(pb.RepositoryIndexRequest, message)
        entries = self._repository.index(only_ready=request.ready)
        return _bytes(ParseDict({"models": entries}, pb.RepositoryIndexResponse()))

    async def repository_load(self, message: bytes, context: Context) -> bytes:
        """Make a version ready."""
        request = parse(pb.RepositoryModelLoadRequest, message)
        await self._repository.load(request.model_name, _values(request.parameters), metadata_headers(context))
        return _bytes(pb.RepositoryModelLoadResponse())

    async def repository_unload(self, message: bytes, context: Context) -> bytes:
        """Drain a version and free what it holds."""
        request = parse(pb.RepositoryModelUnloadRequest, message)
        await self._repository.unload(request.model_name, _values(request.parameters), metadata_headers(context))
        return _bytes(pb.RepositoryModelUnloadResponse())

    async def trace_setting(self, message: bytes, _context: Context) -> bytes:
        """Show the trace settings; accept what is so already, refuse the rest."""
        request = parse(pb.TraceSettingRequest, message)
        wanted = {name: list(setting.value) for name, setting in request.settings.items()}
        settings = self._tuning.change_trace_settings(request.model_name, wanted)
        response = pb.TraceSettingResponse()
        for name, value in settings.items():
            response.settings[name].value.extend(value if isinstance(value, list) else [value])
        return _bytes(response)

    async def log_settings(self, message: bytes, _context: Context) -> bytes:
        """Show the log settings; accept what is so already, refuse the rest."""
        request = parse(pb.LogSettingsRequest, message)
        response = pb.LogSettingsResponse()
        for name, value in self._tuning.change_log_settings(_values(request.settings)).items():
            entry = response.settings[name]
            if isinstance(value, bool):
                entry.bool_param = value
            elif isinstance(value, int):
                entry.uint32_param = value
            else:
                entry.string_param = value
        return _bytes(response)

    async def no_shared_memory(self, _message: bytes, _context: Context) -> bytes:
        """Refuse the shared-memory extensions: a name from the network must not choose memory of this machine."""
        raise ServingError(ErrorKind.UNSUPPORTED, _NO_SHARED_MEMORY)


def parse(kind: Any, message: bytes) -> Any:
    """Parse a message of a kind.

    Raises:
        ServingError: INVALID.
    """
    try:
        return kind.FromString(message)
    except DecodeError:
        raise invalid(f"the message is not a {kind.DESCRIPTOR.name}") from None


def _values(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Take the values out of protobuf's one-of wrappers."""
    values: dict[str, Any] = {}
    for name, entry in entries.items():
        choice = entry.WhichOneof("parameter_choice")
        if choice is None:
            raise invalid(f'"{name[:64]}" has no value')
        values[name] = getattr(entry, choice)
    return values


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()
