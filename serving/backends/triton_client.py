"""Speaks to one Triton server over gRPC or HTTP: the one module that imports tritonclient.

Control calls and the golden check block and are made in threads; inference is awaited on the loop that serves. Both
clients of the library differ in little but their errors, which become ours here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from serving.backends.backend import Array
from serving.backends.outgoing import Address
from serving.backends.triton_errors import EndpointLost, translate
from serving.protocol.datatypes import datatype_of
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import Signature, TensorSpec

GRPC: Final = "grpc"
HTTP: Final = "http"
_APIS: Final[dict[str, tuple[Any, Any]]] = {
    GRPC: (tritonclient.grpc, tritonclient.grpc.aio),
    HTTP: (tritonclient.http, tritonclient.http.aio),
}
#: By how much a server may tell of a deadline later than we would find out ourselves.
_GRACE_S: Final = 0.05
#: gRPC's own pauses between attempts to connect grow to two minutes, within which a server that is back stays lost.
_CHANNEL: Final = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 5_000))
_CONNECTION_ERRORS: Final = (ConnectionError, aiohttp.ClientConnectionError, OSError)


class TritonClient:
    """One server, one model."""

    def __init__(self, address: Address, model: str, version: str, *, connections: int, timeout_s: float) -> None:
        """Contact nothing yet.

        Args:
            address: of the server.
            model: its name there.
            version: its version there; empty for the one that the server chooses.
            connections: most that the serving loop opens by HTTP.
            timeout_s: longest wait of a call that blocks.
        """
        self.address = address
        self._timeout_s = timeout_s
        self._model = model
        self._version = version
        self._connections = connections
        self._api, self._aio_api = _APIS[address.scheme]
        self._aio_client: Any = None
        self._datatypes: dict[str, str] = {}

    def load(self) -> None:
        """Have the server load the model from its repository.

        Raises:
            ServingError: it refuses.
            EndpointLost: it is away, or does not answer in time.
        """
        with self._control() as (client, limit):
            client.load_model(self._model, **limit)

    def unload(self) -> None:
        """Have the server unload the model; raises as `load` does."""
        with self._control() as (client, limit):
            client.unload_model(self._model, **limit)

    def signature(self) -> Signature:
        """Read what the model takes and gives, as the server says; raises as `load` does."""
        options = {"as_json": True} if self.address.scheme == GRPC else {}
        with self._control() as (client, limit):
            found = client.get_model_metadata(self._model, self._version, **options, **limit)
        inputs, outputs = (tuple(map(_spec, found.get(side, ()))) for side in ("inputs", "outputs"))
        self._datatypes = {spec.name: spec.datatype for spec in (*inputs, *outputs)}
        return Signature(inputs, outputs, f"triton_{found.get('platform') or 'model'}")

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run the model and wait; raises as `load` does, or what the model's failure means."""
        with self._control() as (client, limit):
            answer = client.infer(
                self._model, self._inputs(inputs), self._version, outputs=self._outputs(outputs), **limit
            )
        return self._arrays(answer)

    async def infer_async(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float
    ) -> dict[str, Array]:
        """Run the model. When the caller is cancelled, the call is too.

        Raises:
            ServingError: by the table of `triton_errors`.
            EndpointLost: the server is away.
        """
        if self._aio_client is None:
            self._aio_client = self._make_aio()
        # Triton drops a request that has waited in its queue for longer than this; it takes microseconds.
        limit = {"timeout": max(1, int(timeout_s * 1e6))}
        if self.address.scheme == GRPC:
            limit["client_timeout"] = timeout_s  # type: ignore[assignment]
        with self._reaching():
            async with asyncio.timeout(timeout_s + _GRACE_S):
                answer = await self._aio_client.infer(
                    self._model, self._inputs(inputs), self._version, outputs=self._outputs(outputs), **limit
                )
        return self._arrays(answer)

    async def close(self) -> None:
        """Close the connections of the serving loop."""
        if self._aio_client is not None:
            await self._aio_client.close()
            self._aio_client = None

    @contextmanager
    def _control(self) -> Iterator[tuple[Any, dict[str, float]]]:
        """Lend a blocking client for one call, with the arguments that bound it.

        The HTTP client is bound to the thread that made it, and takes its limits when it is made. A server that does
        not answer in time is as good as gone: another may be asked.
        """
        is_grpc = self.address.scheme == GRPC
        at_most = {} if is_grpc else {"connection_timeout": self._timeout_s, "network_timeout": self._timeout_s}
        try:
            with self._reaching(), self._api.InferenceServerClient(self.address.netloc, **at_most) as client:
                yield client, {"client_timeout": self._timeout_s} if is_grpc else {}
        except ServingError as error:
            if error.kind is not ErrorKind.DEADLINE:
                raise
            waited = f"Triton at {self.address.netloc} has not answered within {self._timeout_s:g} s"
            raise EndpointLost(waited) from error

    def _make_aio(self) -> Any:
        more: dict[str, Any] = {"conn_limit": self._connections}
        if self.address.scheme == GRPC:
            more = {"channel_args": list(_CHANNEL)}
        return self._aio_api.InferenceServerClient(self.address.netloc, **more)

    def _inputs(self, inputs: Mapping[str, Array]) -> list[Any]:
        made = []
        for name, array in inputs.items():
            datatype = self._datatypes.get(name) or datatype_of(array.dtype)
            tensor = self._api.InferInput(name, list(array.shape), datatype)
            tensor.set_data_from_numpy(_widened(array) if datatype == "BF16" else array)
            made.append(tensor)
        return made

    def _outputs(self, names: Sequence[str]) -> list[Any] | None:
        return [self._api.InferRequestedOutput(name) for name in names] or None

    def _arrays(self, answer: Any) -> dict[str, Array]:
        described = answer.get_response()
        tensors = described.outputs if self.address.scheme == GRPC else described["outputs"]
        arrays = {}
        for tensor in tensors:
            name = tensor.name if self.address.scheme == GRPC else tensor["name"]
            array = answer.as_numpy(name)
            arrays[name] = _narrowed(array) if self._datatypes.get(name) == "BF16" else array
        return arrays

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn the failures of a call into ours."""
        try:
            yield
        except InferenceServerException as error:
            raise translate(error.status(), error.message() or "") from error
        except TimeoutError as error:
            raise ServingError(ErrorKind.DEADLINE, "Triton did not answer in time") from error
        except _CONNECTION_ERRORS as error:
            raise EndpointLost(f"Triton cannot be reached at {self.address.netloc}: {error}") from error


def _spec(described: Mapping[str, Any]) -> TensorSpec:
    """Read one tensor of the metadata; gRPC's JSON has sizes as text."""
    return TensorSpec(described["name"], described["datatype"], tuple(int(size) for size in described.get("shape", ())))


def _widened(array: Array) -> Array:
    """Turn bfloat16, which we keep as its bits, into the float32 that the client library wants."""
    return (array.astype(np.uint32) << 16).view(np.float32)


def _narrowed(array: Array) -> Array:
    return (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16)
