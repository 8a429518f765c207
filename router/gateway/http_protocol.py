"""uvicorn's HTTP protocol with a short cut: an inference runs by callback, everything else is ordinary ASGI.

Theory of operation. uvicorn's httptools protocol starts a task per request and feeds it through queues and events; for
an inference of 20 µs that machinery is most of the cost. Here a POST to an infer path makes an `Exchange` instead. It
collects the body, dispatches the call when the last byte is there, and writes the answer in one go when the dispatcher
releases it: no task, no future, no ASGI messages.

An Exchange carries the few attributes through which uvicorn looks at a request in progress (`response_complete`,
`keep_alive`, …), so pipelining, keep-alive, limits and graceful shutdown stay uvicorn's and work across both kinds: a
pipelined GET waits for the inference before it, and the other way round.

Idle and slow connections are closed by one sweep over all connections instead of a timer per request.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from httptools import parse_url
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from router.gateway.call import Call
from router.gateway.http_wire import Wire, encode_error, frame_answer, match_infer
from serving.channel.server import write_pieces
from serving.protocol.errors import ErrorKind, ServingError, too_large
from serving.protocol.messages import Buffer

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.gateway.dispatch import Dispatcher
    from serving.protocol.messages import Limits

#: Requests that one connection may have parsed and waiting before reading pauses.
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def match_path(url: bytes) -> Wire | None:
    """Match a V2 infer path, with or without a query."""
    return match_infer(url) if b"?" not in url else match_infer(parse_url(url).path)


class InferService:
    """What every HTTP connection of a router shares."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        limits: Limits,
        request_timeout_s: float,
        next_id: Callable[[], str],
        match: Callable[[bytes], Wire | None] = match_path,
    ) -> None:
        self.dispatcher = dispatcher
        self.match = match
        """Reads a path that takes the callback way; None sends the request to the ASGI app."""
        self.limits = limits
        self.request_timeout_s = request_timeout_s
        self.next_id = next_id


class Exchange:
    """One inference over HTTP, from its headers to its answer; the `Door` of its call."""

    __slots__ = (
        "_call",
        "_chunks",
        "_pieces",
        "_protocol",
        "_size",
        "_wire",
        "body_complete",
        "disconnected",
        "headers",
        "keep_alive",
        "message_event",
        "response_complete",
        "too_large",
    )

    def __init__(
        self, protocol: ShepherdProtocol, wire: Wire, headers: list[tuple[bytes, bytes]], *, keep_alive: bool
    ) -> None:
        self._protocol = protocol
        self._wire = wire
        self._chunks: list[bytes] = []
        self._size = 0
        self._call: Call | None = None
        self._pieces: list[Buffer] = []
        self.headers = headers
        self.keep_alive = keep_alive
        self.body_complete = False
        self.too_large = False
        self.disconnected = False
        self.response_complete = False
        self.message_event = _NEVER

    def add(self, chunk: bytes, max_body_bytes: int) -> None:
        """Collect a piece of the body; one too many turns the request into a 413."""
        self._size += len(chunk)
        if self._size > max_body_bytes:
            self.too_large = True
            self._chunks.clear()
        elif not self.too_large:
            self._chunks.append(chunk)

    def begin(self, service: InferService) -> None:
        """Decode and dispatch; the body is complete or already too large."""
        now = service.dispatcher.now()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
        self._call = call = Call(
            self,
            id=service.next_id(),
            protocol=self._wire.protocol,
            model="",
            request=None,
            headers=headers,
            started=now,
            deadline=now + service.request_timeout_s,
        )
        try:
            if self.too_large:
                raise too_large(f"the body is larger than {service.limits.max_body_bytes} bytes")
            body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            pinned = self._wire.decode(call, body, service.limits)
        except ServingError as error:
            service.dispatcher.refuse(call, error)
            return
        service.dispatcher.dispatch(call, pinned)

    def answer(self, call: Call) -> None:
        """Door: encode."""
        if not self.disconnected:
            self._pieces = frame_answer(
                self._wire.encode(call), keep_alive=self.keep_alive, common=self._protocol.common_headers()
            )

    def release(self, call: Call) -> None:
        """Door: send."""
        self._call = None
        self._protocol.finish(self, self._pieces)

    def abandon(self, dispatcher: Dispatcher) -> None:
        """The client is gone."""
        self.disconnected = True
        if self._call is not None:
            dispatcher.cancel(self._call)


class _Never:
    """Stands where uvicorn expects an event to set: nobody waits for an Exchange."""

    def set(self) -> None:
        """Do nothing."""


_NEVER: Final = _Never()


class ShepherdProtocol(HttpToolsProtocol):
    """The protocol class that uvicorn runs for each connection of a router."""

    service: InferService
    """Set on the subclass that `protocol_class` makes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.active_at = time.monotonic()
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._common = b""

    def on_message_begin(self) -> None:
        """Start collecting; the ASGI scope is built only for requests that need one."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Choose the path: an inference goes by callback."""
        wire = self.service.match(self.url) if self.parser.get_method() == b"POST" else None
        if wire is None:
            self._begin_asgi()
            return
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        exchange = Exchange(self, wire, self.headers, keep_alive=keep_alive)
        waiting_behind = self.cycle
        self.cycle = exchange  # type: ignore[assignment]
        if waiting_behind is not None and not waiting_behind.response_complete:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]
        elif self.expect_100_continue:
            self.transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Collect an inference's body; hand on what belongs to ASGI."""
        cycle: Any = self.cycle
        if type(cycle) is not Exchange:
            super().on_body(body)
            return
        cycle.add(body, self.service.limits.max_body_bytes)
        if cycle.too_large and not cycle.body_complete:
            cycle.keep_alive = False  # the rest of the body is not read
            self._complete(cycle)

    def on_message_complete(self) -> None:
        """Dispatch, unless the connection is still busy with the request before."""
        cycle: Any = self.cycle
        if type(cycle) is not Exchange:
            super().on_message_complete()
        elif not cycle.body_complete:
            self._complete(cycle)

    def _complete(self, exchange: Exchange) -> None:
        exchange.body_complete = True
        if not (self.pipeline and any(queued[0] is exchange for queued in self.pipeline)):  # type: ignore[comparison-overlap]
            exchange.begin(self.service)

    def finish(self, exchange: Exchange, pieces: list[Buffer]) -> None:
        """Send an exchange's answer and go on with what the connection has queued."""
        exchange.response_complete = True
        self.server_state.total_requests += 1
        if exchange.disconnected or self.transport.is_closing():
            return
        write_pieces(self.transport, pieces, sum([len(piece) for piece in pieces]))
        self.active_at = time.monotonic()
        if not exchange.keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.flow.resume_reading()
            self._start_asgi_task(*self.pipeline.pop())

    def common_headers(self) -> bytes:
        """Header lines of every answer (the date); uvicorn renews its list each second."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_headers = headers
            self._common = b"".join([name + b": " + value + b"\r\n" for name, value in headers])
        return self._common

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what the client no longer waits for, queued requests included."""
        for cycle in (self.cycle, *(queued[0] for queued in self.pipeline)):
            if type(cycle) is Exchange and not cycle.response_complete:  # type: ignore[comparison-overlap]
                cycle.abandon(self.service.dispatcher)  # type: ignore[unreachable]
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, remembering when."""
        self.active_at = time.monotonic()
        super().data_received(data)

    def close_if_stale(self, now: float, idle_s: float, receiving_s: float) -> None:
        """Close when idle for too long, or when a request has been arriving too slowly."""
        quiet_s = now - self.active_at
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            if quiet_s > idle_s:
                self.transport.close()
        elif type(cycle) is Exchange and not cycle.body_complete and quiet_s > receiving_s:
            error = ServingError(ErrorKind.INVALID, "the request's body did not arrive in time")
            write_pieces(self.transport, frame_answer(encode_error(error), keep_alive=False), 0)
            self.transport.close()

    def _begin_asgi(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers += headers
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Start a queued request of either kind."""
        if type(cycle) is not Exchange:
            super()._start_asgi_task(cycle, app)
        elif cycle.body_complete:
            cycle.begin(self.service)


def protocol_class(service: InferService) -> type[ShepherdProtocol]:
    """Make the protocol class for one router's server."""
    return type("BoundShepherdProtocol", (ShepherdProtocol,), {"service": service})


async def sweep_connections(
    connections: set[asyncio.Protocol], *, idle_s: float, receiving_s: float, every_s: float = 1.0
) -> None:
    """Close stale connections for as long as the task lives."""
    while True:
        await asyncio.sleep(every_s)
        now = time.monotonic()
        for connection in list(connections):
            if isinstance(connection, ShepherdProtocol):
                connection.close_if_stale(now, idle_s, receiving_s)
