"""The unary methods that ask or steer: metadata, readiness, configuration, statistics, repository, settings.

Each turns its message into the call that the HTTP door makes too, and the document that comes back into a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from router.access.scope import Action
from router.gateway.catalogue import Catalogue
from router.gateway.grpc.rpc.query import Asked, Query
from router.gateway.log_trace_settings import LogTraceSettings
from router.gateway.names import read_version
from router.gateway.repository import Repository
from router.gateway.statistics import Statistics
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.protocol.pb import open_inference_pb2 as pb

_NO_SHARED_MEMORY: Final = "shared memory is not offered: send the data in the request"
_SHARED_MEMORY: Final = tuple(
    f"{kind}SharedMemory{verb}" for kind in ("System", "Cuda") for verb in ("Status", "Register", "Unregister")
)


class QueryMethods:
    """Everything unary but inference."""

    def __init__(
        self, catalogue: Catalogue, statistics: Statistics, repository: Repository, log_trace: LogTraceSettings
    ) -> None:
        self._catalogue = catalogue
        self._statistics = statistics
        self._repository = repository
        self._log_trace = log_trace

    def table(self) -> dict[str, Query]:
        """List the methods by name, each with what its caller must be allowed to do."""
        read, manage, change = Action.METADATA, Action.REPOSITORY, Action.SETTINGS
        return {
            "ServerLive": Query(pb.ServerLiveRequest, None, self.server_live),
            "ServerReady": Query(pb.ServerReadyRequest, None, self.server_ready),
            "ServerMetadata": Query(pb.ServerMetadataRequest, read, self.server_metadata),
            "ModelReady": Query(pb.ModelReadyRequest, read, self.model_ready, "name"),
            "ModelMetadata": Query(pb.ModelMetadataRequest, read, self.model_metadata, "name"),
            "ModelConfig": Query(pb.ModelConfigRequest, read, self.model_config, "name"),
            "ModelStatistics": Query(pb.ModelStatisticsRequest, read, self.model_statistics, "name"),
            "RepositoryIndex": Query(pb.RepositoryIndexRequest, read, self.repository_index),
            "RepositoryModelLoad": Query(pb.RepositoryModelLoadRequest, manage, self.repository_load, "model_name"),
            "RepositoryModelUnload": Query(
                pb.RepositoryModelUnloadRequest, manage, self.repository_unload, "model_name"
            ),
            "TraceSetting": Query(pb.TraceSettingRequest, read, self.trace_setting, "model_name", change),
            "LogSettings": Query(pb.LogSettingsRequest, read, self.log_settings, with_settings=change),
            **{name: Query(getattr(pb, f"{name}Request"), read, self.no_shared_memory) for name in _SHARED_MEMORY},
        }

    async def server_live(self, _asked: Asked) -> Message:
        """Say that this process answers."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _asked: Asked) -> Message:
        """Say whether this router should get traffic."""
        return pb.ServerReadyResponse(ready=self._catalogue.reason_unready() is None)

    async def model_ready(self, asked: Asked) -> Message:
        """Say whether a model, or one version, can answer."""
        request = asked.request
        reason = self._catalogue.reason_model_unready(request.name, read_version(request.version))
        return pb.ModelReadyResponse(ready=reason is None)

    async def server_metadata(self, _asked: Asked) -> Message:
        """Server metadata."""
        return pb.ServerMetadataResponse(**self._catalogue.server_metadata())

    async def model_metadata(self, asked: Asked) -> Message:
        """Model metadata."""
        request = asked.request
        document = self._catalogue.model_metadata(request.name, read_version(request.version))
        return pb.ModelMetadataResponse(**document)

    async def model_config(self, asked: Asked) -> Message:
        """Triton's model configuration."""
        request = asked.request
        document = self._catalogue.model_config(request.name, read_version(request.version))
        return ParseDict({"config": document}, pb.ModelConfigResponse())

    async def model_statistics(self, asked: Asked) -> Message:
        """Statistics of one version, one model, or everything."""
        request = asked.request
        version = read_version(request.version)
        if request.name:
            self._catalogue.check_known(request.name, version)
        found = await self._statistics.read(request.name, version)
        document = {"model_stats": [each for each in found if asked.sees(each["name"])]}
        return ParseDict(document, pb.ModelStatisticsResponse())

    async def repository_index(self, asked: Asked) -> Message:
        """List versions and where they stand."""
        entries = self._repository.index(only_ready=asked.request.ready, sees=asked.sees)
        return ParseDict({"models": entries}, pb.RepositoryIndexResponse())

    async def repository_load(self, asked: Asked) -> Message:
        """Make a version ready."""
        request = asked.request
        await self._repository.load(request.model_name, _values(request.parameters), asked.headers)
        return pb.RepositoryModelLoadResponse()

    async def repository_unload(self, asked: Asked) -> Message:
        """Drain a version and free what it holds."""
        request = asked.request
        await self._repository.unload(request.model_name, _values(request.parameters), asked.headers)
        return pb.RepositoryModelUnloadResponse()

    async def trace_setting(self, asked: Asked) -> Message:
        """Show the trace settings; accept what is so already, refuse the rest."""
        request = asked.request
        wanted = {name: list(setting.value) for name, setting in request.settings.items()}
        settings = self._log_trace.change_trace_settings(request.model_name, wanted)
        response = pb.TraceSettingResponse()
        for name, value in settings.items():
            response.settings[name].value.extend(value if isinstance(value, list) else [value])
        return response

    async def log_settings(self, asked: Asked) -> Message:
        """Show the log settings; accept what is so already, refuse the rest."""
        request = asked.request
        response = pb.LogSettingsResponse()
        for name, value in self._log_trace.change_log_settings(_values(request.settings)).items():
            entry = response.settings[name]
            if isinstance(value, bool):
                entry.bool_param = value
            elif isinstance(value, int):
                entry.uint32_param = value
            else:
                entry.string_param = value
        return response

    async def no_shared_memory(self, _asked: Asked) -> Message:
        """Refuse the shared-memory extensions: a name from the network must not choose memory of this machine."""
        raise ServingError(ErrorKind.UNSUPPORTED, _NO_SHARED_MEMORY)


def _values(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Take the values out of protobuf's one-of wrappers."""
    values: dict[str, Any] = {}
    for name, entry in entries.items():
        choice = entry.WhichOneof("parameter_choice")
        if choice is None:
            raise invalid(f'"{name[:64]}" has no value')
        values[name] = getattr(entry, choice)
    return values
