"""The limits of one HTTP connection: how much and how slowly a client may send, and how a connection ends.

A request that breaks a limit is refused in its turn, after the answers that are owed before it, and nothing more is
read from its connection. The limits hold for inferences and for everything else alike.
"""

from __future__ import annotations

import time
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from router.gateway.http.exchange import Exchange, InferService
from router.gateway.http.refusals import SLOW, refusing_app
from router.gateway.http.wire import Answer, encode_error, frame_answer
from serving.channel.server import write_pieces
from serving.protocol.errors import ServingError

#: Slowest rate at which a request may come in once its time is up, in bytes a second.
MIN_RATE: Final = 16 * 1024
#: How long a refused client may go on sending before the connection is cut: time to read why.
LINGER_S: Final = 2.0
#: What of a request is coming in.
NOTHING, HEAD, BODY = range(3)


class BoundedConnection(HttpToolsProtocol):
    """A connection that can be given up at any point; what is parsed, and how it is answered, is its subclass's."""

    service: InferService
    """Set on the subclass that `protocol_class` makes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.active_at = time.monotonic()
        self._reading = NOTHING
        self._began_at = 0.0
        self._read_bytes = 0
        """Of the request that is coming in; of a read that holds the end of the one before, only what was parsed."""
        self._requests_in_read = 0
        """Of the read that is being parsed: how many requests have a part in it."""
        self._deaf = False
        """Nothing more is read: what comes is thrown away."""
        self._closing = False
        self._lingers_until = 0.0
        self._unsent_bytes = 0
        """Left to send when last looked at, while the client does not read."""
        self._is_held = False
        """An answer is finished, and what comes next waits until the client has read."""
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._common = b""

    def _complete(self, exchange: Exchange) -> None:
        exchange.body_complete = True
        if not (self.pipeline and any(queued[0] is exchange for queued in self.pipeline)):  # type: ignore[comparison-overlap]
            exchange.begin()

    def common_headers(self) -> bytes:
        """Header lines of every answer (the date); uvicorn renews its list each second."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_headers = headers
            self._common = b"".join([name + b": " + value + b"\r\n" for name, value in headers])
        return self._common

    def _give_up(self, error: ServingError, answer: Answer | None = None) -> None:
        """Read nothing more: refuse the request that is coming in, after the answers that are owed before it."""
        self._deaf = True
        cycle: Any = self.cycle
        answer = answer or encode_error(error)
        if self._reading == BODY and type(cycle) is Exchange:
            if not cycle.body_complete:
                cycle.fault, cycle.keep_alive = error, False
                self._complete(cycle)
        elif cycle is None or cycle.response_complete:
            self._refuse(answer, owed=self._reading != BODY)
        elif self._reading != BODY:
            cycle.keep_alive = False
        elif self.pipeline and self.pipeline[0][0] is cycle:
            cycle.keep_alive = False
            self.pipeline[0] = (cycle, refusing_app(answer))
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._refuse(answer, owed=not cycle.response_started)

    def _refuse(self, answer: Answer, *, owed: bool) -> None:
        """Hang up, with an answer where one is owed: a request may have been answered before its body was read."""
        if owed:
            write_pieces(self.transport, frame_answer(answer, keep_alive=False, common=self.common_headers()), 0)
        self._hang_up()

    def _hang_up(self) -> None:
        """Close; where the client is still sending, only after it had time to read the answer.

        A socket that is closed with bytes unread resets the connection, and the reset may overtake the answer.
        """
        if not self._reading or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._deaf = True
        self._lingers_until = time.monotonic() + LINGER_S
        self.flow.resume_reading()
        self.transport.write_eof()

    def shutdown(self) -> None:
        """Serve what is in flight or coming in, then close."""
        self._closing = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif not self._reading:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what the client no longer waits for, queued requests included."""
        for cycle in (self.cycle, *(queued[0] for queued in self.pipeline)):
            if type(cycle) is Exchange and not cycle.response_complete:  # type: ignore[comparison-overlap]
                cycle.abandon()
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Take no more requests from a client that does not read its answers, nor begin those that it has sent."""
        self.flow.pause_writing()
        self.flow.pause_reading()
        self.active_at = time.monotonic()
        self._unsent_bytes = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """Go on."""
        self.flow.resume_writing()
        if self._is_held:
            self._is_held = False
            self.go_on()
        elif not self.pipeline:
            self.flow.resume_reading()

    def go_on(self) -> None:
        """Start the next request that was read, and read on once none is left."""
        self.active_at = time.monotonic()
        queued = self.pipeline.pop() if self.pipeline else None
        if not self.pipeline:
            self.flow.resume_reading()
        if queued is not None:
            self._began_at = self.active_at
            self._start_asgi_task(*queued)

    def close_if_stale(self, now: float, idle_s: float, receiving_s: float) -> None:
        """Close when idle for too long, or when a request comes in, or its answer goes out, too slowly."""
        cycle: Any = self.cycle
        if self._lingers_until:
            if now > self._lingers_until:
                self.transport.abort()
        elif self.flow.write_paused:
            before, self._unsent_bytes = self._unsent_bytes, self.transport.get_write_buffer_size()
            if self._unsent_bytes < before:
                self.active_at = now
            elif now - self.active_at > idle_s:
                self.transport.abort()
        elif self._deaf or self.flow.read_paused:
            pass
        elif self._reading:
            if now - self._began_at > receiving_s + self._read_bytes / MIN_RATE:
                self._give_up(SLOW)
        elif (cycle is None or cycle.response_complete) and now - self.active_at > idle_s:
            self.transport.close()
