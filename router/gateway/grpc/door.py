"""The gRPC door: `inference.GRPCInferenceService`, feedback, health and reflection on a grpc.aio server.

Methods are registered by their literal wire names with raw bytes in and out, so that the messages may be declared in a
private package (tritonclient declares `inference` too, and one process can hold a name once) and our own codec does the
work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc

from router.access.scope import Action
from router.gateway.catalogue import Catalogue
from router.gateway.feedback import Labels
from router.gateway.grpc.rpc.feedback import SERVICE as FEEDBACK
from router.gateway.grpc.rpc.feedback import FeedbackMethods
from router.gateway.grpc.rpc.health import HealthMethods
from router.gateway.grpc.rpc.inference import PROTOCOL, Context, InferenceMethods, metadata_headers
from router.gateway.grpc.rpc.queries import QueryMethods
from router.gateway.grpc.rpc.query import Unary, guarded
from router.gateway.grpc.rpc.reflection import SERVICES as REFLECTIONS
from router.gateway.grpc.rpc.reflection import ReflectionMethods
from router.gateway.grpc.wire import shorten
from router.gateway.http.exchange import InferService
from router.gateway.http.http2.headers import MAX_LIST_BYTES
from router.gateway.log_trace_settings import LogTraceSettings
from router.gateway.repository import Repository
from router.gateway.statistics import Statistics
from router.gateway.statuses import STATUSES
from serving.protocol.errors import ServingError

Streaming = Callable[[Any, Context], AsyncIterator[bytes]]

SERVICE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"
#: Clients may ping an idle connection as often as this; the default of five minutes cuts off what firewalls call for.
_PING_INTERVAL_MS: Final = 10_000
_KEEPALIVE_MS: Final = 60_000
_MAX_PENDING: Final = 100_000
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class GrpcDoor:
    """Serves gRPC until `close`."""

    def __init__(
        self,
        service: InferService,
        catalogue: Catalogue,
        *,
        statistics: Statistics,
        repository: Repository,
        log_trace: LogTraceSettings,
        labels: Labels,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self._max_message_bytes = service.limits.max_body_bytes
        self._credentials = credentials
        self._authorizer = service.authorizer
        self._inference = InferenceMethods(service)
        self._queries = QueryMethods(catalogue, statistics, repository, log_trace)
        self._feedback = FeedbackMethods(labels)
        self._health = HealthMethods(catalogue, frozenset({SERVICE, FEEDBACK}))
        self._reflection = ReflectionMethods((SERVICE, FEEDBACK, HEALTH))
        self._server: grpc.aio.Server | None = None

    async def start(self, *addresses: str) -> None:
        """Listen on `host:port`, shared with the other routers of the node, and on `unix:PATH`.

        A `host:port` speaks TLS when there are credentials.

        Raises:
            OSError: an address is taken by somebody else.
        """
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", self._max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # Both, since what lies between them is refused by chance.
                ("grpc.max_metadata_size", MAX_LIST_BYTES),
                ("grpc.absolute_max_metadata_size", MAX_LIST_BYTES),
                # What comes in one turn of the loop waits for its turn; more than a thousand would be cancelled.
                ("grpc.server.max_pending_requests", _MAX_PENDING),
                ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING),
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", _PING_INTERVAL_MS),
            ]
        )
        server.add_generic_rpc_handlers((_Handlers(self._methods()),))
        for address in addresses:
            try:
                if self._credentials is not None and not address.startswith("unix:"):
                    server.add_secure_port(address, self._credentials)
                else:
                    server.add_insecure_port(address)
            except RuntimeError as error:
                raise OSError(f"cannot listen for gRPC on {address}: {error}") from error
        await server.start()
        self._server = server

    async def close(self, drain_timeout_s: float) -> None:
        """Refuse new calls, let those in flight finish."""
        self._health.draining = True
        if self._server is not None:
            await self._server.stop(drain_timeout_s)

    def _methods(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        # Inferences name their models in each message, so these two check their callers themselves; health is open.
        queries = {
            **{f"/{SERVICE}/{name}": query for name, query in self._queries.table().items()},
            **{f"/{FEEDBACK}/{name}": query for name, query in self._feedback.table().items()},
        }
        unary: dict[str, Unary] = {
            f"/{SERVICE}/ModelInfer": self._inference.infer,
            f"/{HEALTH}/Check": self._health.check,
            **{path: guarded(query, self._authorizer) for path, query in queries.items()},
        }
        describe = self._described(self._reflection.info)
        streaming: dict[str, Streaming] = {
            f"/{SERVICE}/ModelStreamInfer": self._inference.stream,
            f"/{HEALTH}/Watch": self._health.watch,
            **{f"/{name}/ServerReflectionInfo": describe for name in REFLECTIONS},
        }
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            path: grpc.unary_unary_rpc_method_handler(_answering_errors(method)) for path, method in unary.items()
        }
        for path, streamed in streaming.items():
            methods[path] = grpc.stream_stream_rpc_method_handler(_ending_errors(streamed))
        return methods

    def _described(self, reflection: Streaming) -> Streaming:
        """Let callers who may read about the server have it described."""

        async def answer(messages: Any, context: Context) -> AsyncIterator[bytes]:
            caller = self._authorizer.identify(metadata_headers(context), PROTOCOL)
            self._authorizer.require(caller, Action.METADATA, "", PROTOCOL)
            async for message in reflection(messages, context):
                yield message

        return answer


class _Handlers(grpc.GenericRpcHandler):
    """Finds methods by their paths."""

    def __init__(self, methods: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._methods = methods

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """None makes it UNIMPLEMENTED."""
        return self._methods.get(details.method)


def _answering_errors(method: Unary) -> Unary:
    async def answer(message: bytes, context: Context) -> bytes:
        try:
            return await method(message, context)
        except ServingError as error:
            await context.abort(_CODES[STATUSES[error.kind].grpc], shorten(error.message))

    return answer


def _ending_errors(method: Streaming) -> Streaming:
    async def answer(messages: Any, context: Context) -> AsyncIterator[bytes]:
        try:
            async for message in method(messages, context):
                yield message
        except ServingError as error:
            await context.abort(_CODES[STATUSES[error.kind].grpc], shorten(error.message))

    return answer
