"""The gRPC door: `inference.GRPCInferenceService` and `grpc.health.v1` on a grpc.aio server.

Methods are registered by their literal wire names with raw bytes in and out, so that the messages may be declared in a
private package (tritonclient declares `inference` too, and one process can hold a name once) and our own codec does the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health_pb2

from router.gateway.call import Call
from router.gateway.catalogue import Catalogue
from router.gateway.grpc_wire import parse_version
from router.gateway.statuses import STATUSES
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.protocol.grpc_codec import decode_infer, encode_infer_response
from serving.protocol.messages import InferResponse
from serving.protocol.packing import unpack_tensors
from serving.protocol.pb import open_inference_pb2 as pb

if TYPE_CHECKING:
    from router.gateway.http_exchange import InferService

Context = grpc.aio.ServicerContext[bytes, bytes]
Method = Callable[[bytes, Context], Awaitable[bytes]]

SERVICE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class _Waiting:
    """The door of one unary call: a future that the dispatcher's release completes."""

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.message = b""

    def answer(self, call: Call) -> None:
        """Door: encode."""
        if call.error is not None or call.request is None or call.decision is None:
            return
        version = str(call.decision.version)
        response = InferResponse(call.model, version, unpack_tensors(call.outputs), call.request.id)
        try:
            self.message = encode_infer_response(response)
        except ServingError as error:
            call.error = error

    def release(self, call: Call) -> None:
        """Door: let the handler go on."""
        if not self.future.done():
            self.future.set_result(None)


class GrpcDoor:
    """Serves gRPC until `close`."""

    def __init__(self, service: InferService, catalogue: Catalogue) -> None:
        self._service = service
        self._catalogue = catalogue
        self._server: grpc.aio.Server | None = None

    async def start(self, *addresses: str) -> None:
        """Listen on `host:port`, shared with the other routers of the node, and on `unix:PATH`.

        Raises:
            OSError: an address is taken by somebody else.
        """
        size = self._service.limits.max_body_bytes
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", size),
                ("grpc.max_send_message_length", size),
            ]
        )
        server.add_generic_rpc_handlers((self._handlers(),))
        for address in addresses:
            try:
                server.add_insecure_port(address)
            except RuntimeError as error:
                raise OSError(f"cannot listen for gRPC on {address}: {error}") from error
        await server.start()
        self._server = server

    async def close(self, drain_timeout_s: float) -> None:
        """Refuse new calls, let those in flight finish."""
        if self._server is not None:
            await self._server.stop(drain_timeout_s)

    def _handlers(self) -> grpc.GenericRpcHandler:
        methods: dict[str, Method] = {
            f"/{SERVICE}/ModelInfer": self._infer,
            f"/{SERVICE}/ServerLive": self._server_live,
            f"/{SERVICE}/ServerReady": self._server_ready,
            f"/{SERVICE}/ModelReady": self._model_ready,
            f"/{SERVICE}/ServerMetadata": self._server_metadata,
            f"/{SERVICE}/ModelMetadata": self._model_metadata,
            f"/{HEALTH}/Check": self._health,
        }
        handlers = {
            path: grpc.unary_unary_rpc_method_handler(_answering_errors(method)) for path, method in methods.items()
        }

        class Handlers(grpc.GenericRpcHandler):
            def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
                return handlers.get(details.method)

        return Handlers()

    async def _infer(self, message: bytes, context: Context) -> bytes:
        service, dispatcher = self._service, self._service.dispatcher
        door = _Waiting()
        now = dispatcher.now()
        remaining = context.time_remaining()
        limit_s = service.request_timeout_s
        call = Call(
            door,
            id=service.next_id(),
            protocol="grpc",
            model="",
            request=None,
            headers=_headers(context),
            started=now,
            deadline=now + (min(remaining, limit_s) if remaining is not None else limit_s),
        )
        try:
            call.model, version, call.request = decode_infer(message, service.limits)
            pinned = parse_version(version)
        except ServingError as error:
            dispatcher.refuse(call, error)
        else:
            dispatcher.dispatch(call, pinned)
        try:
            await door.future
        except asyncio.CancelledError:
            dispatcher.cancel(call)
            raise
        await context.send_initial_metadata(_metadata(call))
        if call.error is not None:
            raise call.error
        return door.message

    async def _server_live(self, _message: bytes, _context: Context) -> bytes:
        return pb.ServerLiveResponse(live=True).SerializeToString()

    async def _server_ready(self, _message: bytes, _context: Context) -> bytes:
        return pb.ServerReadyResponse(ready=self._catalogue.reason_unready() is None).SerializeToString()

    async def _model_ready(self, message: bytes, _context: Context) -> bytes:
        request = _parse(pb.ModelReadyRequest, message)
        reason = self._catalogue.reason_model_unready(request.name, parse_version(request.version))
        return pb.ModelReadyResponse(ready=reason is None).SerializeToString()

    async def _server_metadata(self, _message: bytes, _context: Context) -> bytes:
        return pb.ServerMetadataResponse(**self._catalogue.server_metadata()).SerializeToString()

    async def _model_metadata(self, message: bytes, _context: Context) -> bytes:
        request = _parse(pb.ModelMetadataRequest, message)
        document = self._catalogue.model_metadata(request.name, parse_version(request.version))
        return pb.ModelMetadataResponse(**document).SerializeToString()

    async def _health(self, message: bytes, _context: Context) -> bytes:
        asked = _parse(health_pb2.HealthCheckRequest, message).service
        if asked not in ("", SERVICE):
            raise ServingError(ErrorKind.NOT_FOUND, f'unknown service "{asked}"')
        ready = self._catalogue.reason_unready() is None
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=status).SerializeToString()


def _answering_errors(method: Method) -> Method:
    async def answer(message: bytes, context: Context) -> bytes:
        try:
            return await method(message, context)
        except ServingError as error:
            await context.abort(_CODES[STATUSES[error.kind].grpc], error.message)

    return answer


def _parse(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except Exception as error:
        raise invalid(f"the message is not a {kind.DESCRIPTOR.name}") from error


def _headers(context: Context) -> dict[str, str]:
    return {
        key: value if isinstance(value, str) else value.decode("latin-1")
        for key, value in context.invocation_metadata() or ()
    }


def _metadata(call: Call) -> tuple[tuple[str, str], ...]:
    own = ("x-shepherd-request-id", call.id)
    if call.decision is None:
        return (own,)
    return (
        ("x-shepherd-version", str(call.decision.version)),
        ("x-shepherd-variant", call.decision.variant),
        ("x-shepherd-reason", call.decision.reason),
        own,
    )
