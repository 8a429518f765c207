"""uvicorn's HTTP protocol with a short cut: an inference runs by callback, everything else is ordinary ASGI.

Theory of operation. uvicorn's httptools protocol starts a task per request and feeds it through queues and events; for
an inference of 20 µs that machinery is most of the cost. Here a POST to an infer path makes an `Exchange` instead. It
collects the body, dispatches the call when the last byte is there, and writes the answer in one go when the dispatcher
releases it: no task, no future, no ASGI messages.

An Exchange carries the few attributes through which uvicorn looks at a request in progress (`response_complete`,
`keep_alive`, …), so pipelining, keep-alive and graceful shutdown stay uvicorn's and work across both kinds: a pipelined
GET waits for the inference before it, and the other way round.

Limits on heads, bodies and time hold for both kinds (`connection`).
"""

from __future__ import annotations

import time
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from router.gateway.http.connection import BODY, HEAD, NOTHING, BoundedConnection
from router.gateway.http.exchange import Exchange, InferService
from router.gateway.http.refusals import MAX_HEAD_BYTES, MAX_HEADERS, NOT_HTTP, TOO_LARGE_HEAD, head_without_upgrade
from router.gateway.http.wire import Answer, frame_answer
from serving.channel.server import write_pieces
from serving.protocol.errors import too_large

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ShepherdProtocol(BoundedConnection):
    """The protocol class that uvicorn runs for each connection of a router."""

    # ── what the parser says ─────────────────────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        """Parse; the parser calls the methods below."""
        self.active_at = time.monotonic()
        if self._deaf:
            return
        self._requests_in_read = 1 if self._reading else 0
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as stop:
            self._parse_without_upgrade(data[stop.args[0] :])
        except HttpParserError:
            self._give_up(NOT_HTTP)
        else:
            if self._reading:
                self._read_bytes += len(data) if self._requests_in_read == 1 else self._parsed_head_bytes()
                if self._reading == HEAD and self._read_bytes > MAX_HEAD_BYTES:
                    self._give_up(NOT_HTTP, TOO_LARGE_HEAD)

    def on_message_begin(self) -> None:
        """Start collecting; the ASGI scope is built only for requests that need one."""
        if self._deaf:
            return
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._requests_in_read += 1
        self._reading, self._read_bytes, self._began_at = HEAD, 0, self.active_at

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; trailers come after the decisions that headers make, and count for nothing."""
        if self._reading != HEAD:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Choose the path: an inference goes by callback."""
        if self._deaf:
            return
        self._reading = BODY
        if len(self.headers) > MAX_HEADERS:
            self._reading = HEAD
            self._give_up(NOT_HTTP, TOO_LARGE_HEAD)
        elif not self.parser.should_upgrade():
            self._route()

    def _route(self) -> None:
        wire = self.service.match(self.url) if self.parser.get_method() == b"POST" else None
        if wire is None:
            self._begin_asgi()
            return
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive() and not self._closing
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
        exchange = Exchange(self, wire, headers, keep_alive=keep_alive)
        waiting_behind = self.cycle
        self.cycle = exchange  # type: ignore[assignment]
        is_next = waiting_behind is None or waiting_behind.response_complete
        if not is_next:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]
        if self.expect_100_continue:
            self._continue(exchange, is_next=is_next)

    def on_body(self, body: bytes) -> None:
        """Collect an inference's body; hand on what belongs to ASGI."""
        cycle: Any = self.cycle
        if self._deaf:
            return
        if type(cycle) is not Exchange:
            limit = self.service.limits.max_body_bytes
            if self._read_bytes > limit + MAX_HEAD_BYTES or len(cycle.body) + len(body) > limit:
                self._give_up(too_large(f"the body is larger than {limit} bytes"))
            else:
                super().on_body(body)
            return
        cycle.add(body, self.service.limits.max_body_bytes)
        if cycle.fault is not None:
            self._give_up(cycle.fault)

    def on_message_complete(self) -> None:
        """Dispatch, unless the connection is still busy with the request before."""
        if self._deaf or self.parser.should_upgrade():
            return
        cycle: Any = self.cycle
        self._reading = NOTHING
        if type(cycle) is not Exchange:
            super().on_message_complete()
        elif not cycle.body_complete:
            self._complete(cycle)

    def _parsed_head_bytes(self) -> int:
        return len(self.url) + sum([len(name) + len(value) for name, value in self.headers])

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse a request again as if it had not offered another protocol: the parser skips the body of one that has.

        Java's client, for one, offers HTTP/2 with every first request.
        """
        method = self.parser.get_method()
        self._reading = HEAD
        if method == b"CONNECT":
            self._give_up(NOT_HTTP)
            return
        self.parser = HttpRequestParser(self)
        self.data_received(head_without_upgrade(method, self.url, self.headers) + rest)

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self, exchange: Exchange, answer: Answer) -> None:
        """Send an exchange's answer and go on with what the connection has queued."""
        exchange.response_complete = True
        if exchange.disconnected or self.transport.is_closing():
            self.server_state.total_requests += 1
            return
        pieces = frame_answer(answer, keep_alive=exchange.keep_alive, common=self.common_headers())
        write_pieces(self.transport, pieces, answer.size)
        if exchange.keep_alive:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._hang_up()

    def on_response_complete(self) -> None:
        """Start the next request, if one is waiting; of both kinds."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.write_paused:
            self._is_held = True
        else:
            self.go_on()

    def _continue(self, exchange: Exchange, *, is_next: bool) -> None:
        """Ask for the body, in the exchange's turn; not for one that would be too large, nor to throw it away."""
        if exchange.refusal is not None:
            self._give_up(exchange.refusal)
            return
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        limit = self.service.limits.max_body_bytes
        if length.isdigit() and (len(length) > 18 or int(length) > limit):
            exchange.fault = too_large(f"the body is larger than {limit} bytes")
            self._give_up(exchange.fault)
        elif is_next:
            self.transport.write(_CONTINUE)
        else:
            exchange.expects_continue = True

    def _begin_asgi(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers += headers
        super().on_headers_complete()
        if self._closing:
            self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Start a queued request of either kind."""
        if type(cycle) is not Exchange:
            super()._start_asgi_task(cycle, app)
        elif cycle.body_complete:
            cycle.begin()
        elif cycle.expects_continue:
            self.transport.write(_CONTINUE)


def protocol_class(service: InferService) -> type[ShepherdProtocol]:
    """Make the protocol class for one router's server."""
    return type("BoundShepherdProtocol", (ShepherdProtocol,), {"service": service})
