"""One HTTP/2 connection of Envoy's to a router: unary gRPC inferences by callback.

Theory of operation. Every stream is an `Exchange`, as every inference over HTTP/1.1 is: it collects the body, is
dispatched when the last byte is there, and answered when the dispatcher releases it. What is answered in one turn of
the loop leaves in one write. A call thus costs no system call of its own: under load, many share each read and write.

The peer is our own Envoy on a private socket, so this is the part of RFC 9113 that it uses. What it may send is
nevertheless bounded; what it must not send ends the connection and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, cast

from router.gateway.http.connection import MIN_RATE
from router.gateway.http.exchange import Exchange, InferService
from router.gateway.http.http2 import frames
from router.gateway.http.http2.frames import ConnectionFault, FrameReader, frame
from router.gateway.http.http2.headers import MAX_LIST_BYTES, NO_TABLE, BrokenBlock, Head, read_head, status
from router.gateway.http.http2.sending import SendWindows
from router.gateway.http.refusals import SLOW
from router.gateway.http.wire import Answer, Wire
from serving.channel.server import write_pieces
from serving.protocol.errors import ServingError, too_large
from serving.protocol.messages import Buffer

#: Calls of one connection; Envoy opens another beyond them.
MAX_STREAMS: Final = 1024
#: Frames in which a header block may come: Envoy forwards none that takes more.
_MAX_BLOCK_FRAMES: Final = 64
#: Received bytes after which the peer is allowed to send as many more.
_REPLENISH_BYTES: Final = 1 << 29
#: Where Envoy asks whether the router is there.
LIVENESS_PATH: Final = b"/v2/health/live"

_GREETING: Final = frames.settings_frame(
    {
        frames.SETTING_TABLE_SIZE: 0,
        frames.SETTING_MAX_STREAMS: MAX_STREAMS,
        # Bodies are bounded one by one; a window would only make Envoy wait in the middle of a large one.
        frames.SETTING_WINDOW: frames.MAX_WINDOW,
    }
) + frame(frames.WINDOW_UPDATE, 0, 0, frames.write_u32(frames.MAX_WINDOW - frames.FIRST_WINDOW))


class Stream(Exchange):
    """One call of a connection."""

    __slots__ = ("began_at", "number", "received_bytes")

    def __init__(self, owner: Http2Connection, wire: Wire, headers: dict[str, str], number: int, now: float) -> None:
        super().__init__(owner, wire, headers, keep_alive=True)
        self.number = number
        self.began_at = now
        self.received_bytes = 0


class Http2Connection(asyncio.Protocol):
    """The protocol of Envoy's connections; the exchanges' owner."""

    def __init__(self, service: InferService, connections: set[Any]) -> None:
        self.service = service
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._reader = FrameReader()
        self._streams: dict[int, Stream] = {}
        self._last_stream = 0
        self._block: list[Buffer] = []
        """Of a header block that goes on in further frames."""
        self._block_stream = 0
        self._block_flags = 0
        self._received_bytes = 0
        self._windows = SendWindows()
        self._stuck: dict[int, tuple[int, float]] = {}
        """Answers that wait for room: what is left of each, and since when it has been that much."""
        self._pieces: list[Buffer] = []
        self._flush_is_due = False
        self._said_no_table = False
        self._closing = False

    # ── the transport ────────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say how we want to be spoken to."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but ancestry
        self._connections.add(self)
        self._transport.write(_GREETING)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what nobody waits for any more."""
        self._connections.discard(self)
        self._pieces.clear()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.abandon()

    def pause_writing(self) -> None:
        """Take nothing more while Envoy does not read."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take frames; end the connection at the first that breaks the protocol."""
        if self._transport.is_closing():
            return
        try:
            for kind, flags, number, payload in self._reader.feed(data):
                if self._block and kind != frames.CONTINUATION:
                    raise ConnectionFault(frames.PROTOCOL_ERROR, "a header block was interrupted")
                if kind == frames.DATA:
                    self._on_data(flags, number, payload)
                elif kind == frames.HEADERS:
                    self._on_headers(flags, number, payload)
                else:
                    self._on_control(kind, flags, number, payload)
        except ConnectionFault as fault:
            self._go_away(fault.code)
            self._flush()
            self._transport.close()

    # ── what comes in ────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_headers(self, flags: int, number: int, payload: Buffer) -> None:
        if flags & frames.PRIORITISED:
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._on_block(number, flags, bytes(payload))
            return
        self._block, self._block_stream, self._block_flags = [payload], number, flags

    def _on_continuation(self, flags: int, number: int, payload: Buffer) -> None:
        if not self._block or number != self._block_stream:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a header block goes on that did not begin")
        self._block.append(payload)
        if len(self._block) > _MAX_BLOCK_FRAMES:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a header block without end")
        if flags & frames.END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._on_block(number, self._block_flags, block)

    def _on_block(self, number: int, flags: int, block: bytes) -> None:
        """Begin a call, or end one: a second block holds trailers, in which there is nothing to see."""
        stream = self._streams.get(number)
        ends = bool(flags & frames.END_STREAM)
        if stream is not None:
            if ends:
                self._complete(stream)
            return
        if number <= self._last_stream:
            return  # of a call that is answered already
        if not number & 1:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a stream with an even number")
        self._last_stream = number
        if self._closing or len(self._streams) >= MAX_STREAMS:
            self._reset(number, frames.REFUSED_STREAM)
            return
        try:
            head = read_head(block)
        except BrokenBlock as error:
            raise ConnectionFault(frames.COMPRESSION_ERROR, str(error)) from None
        self._begin(number, head, ends=ends)

    def _begin(self, number: int, head: Head, *, ends: bool) -> None:
        wire = self.service.match(head.path) if head.method == "POST" else None
        if wire is None:
            code = 200 if head.path == LIVENESS_PATH else 404
            flags = frames.END_HEADERS | frames.END_STREAM
            self._send([frame(frames.HEADERS, flags, number, self._opening(status(code)))])
            return
        stream = self._streams[number] = Stream(self, wire, head.headers.copy(), number, time.monotonic())
        if head.is_too_large:
            self._refuse(stream, too_large(f"the metadata has more than {MAX_LIST_BYTES} bytes"))
        elif ends or stream.refusal is not None:
            self._complete(stream)

    def _on_data(self, flags: int, number: int, payload: Buffer) -> None:
        self._received_bytes += len(payload)
        if self._received_bytes > _REPLENISH_BYTES:
            self._send([frame(frames.WINDOW_UPDATE, 0, 0, frames.write_u32(self._received_bytes))])
            self._received_bytes = 0
        stream = self._streams.get(number)
        if stream is None:
            if number > self._last_stream:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "data of a stream that was not opened")
            return  # of a call that is answered already
        if stream.fault is not None or stream.refusal is not None:
            return  # of one that is about to be
        if stream.body_complete:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "data after the end of a stream")
        stream.received_bytes += len(payload)
        stream.add(payload, self.service.limits.max_body_bytes)
        if stream.fault is not None or flags & frames.END_STREAM:
            self._complete(stream)

    def _on_control(self, kind: int, flags: int, number: int, payload: Buffer) -> None:
        if kind == frames.CONTINUATION:
            self._on_continuation(flags, number, payload)
        elif kind == frames.RST_STREAM:
            self._on_reset(number)
        elif kind == frames.WINDOW_UPDATE:
            self._send(self._windows.grant(number, frames.read_u32(payload)))
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            self._send(self._windows.configure(frames.read_settings(payload)))
            self._send([frame(frames.SETTINGS, frames.ACK, 0)])
        elif kind == frames.PING and not flags & frames.ACK:
            self._send([frame(frames.PING, frames.ACK, 0, bytes(payload))])
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "clients promise nothing")

    def _on_reset(self, number: int) -> None:
        """The client left, or its time is over."""
        self._windows.forget(number)
        stream = self._streams.pop(number, None)
        if stream is not None:
            stream.abandon()
        self._close_if_done()

    def _complete(self, stream: Stream) -> None:
        if not stream.body_complete:
            stream.body_complete = True
            stream.begin()

    def _refuse(self, stream: Stream, error: ServingError) -> None:
        stream.fault = error
        self._complete(stream)

    # ── what goes out ────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self, exchange: Exchange, answer: Answer) -> None:
        """Send an exchange's answer. What is left of a request that is still coming in will be thrown away."""
        stream = cast("Stream", exchange)
        stream.response_complete = True
        if stream.disconnected or self._transport.is_closing():
            return
        number = stream.number
        del self._streams[number]
        self._pieces.append(frame(frames.HEADERS, frames.END_HEADERS, number, self._opening(answer.headers)))
        end = frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, number, answer.trailers)
        self._send(self._windows.send(number, answer.body, answer.size, end))
        self._close_if_done()

    def shutdown(self) -> None:
        """Answer what is in flight and take nothing new: Envoy sends it elsewhere."""
        self._closing = True
        self._go_away(frames.NO_ERROR)
        self._close_if_done()

    def close_if_stale(self, now: float, idle_s: float, receiving_s: float) -> None:
        """Refuse calls that come in too slowly, drop answers that nobody reads; to be idle is Envoy's business."""
        for stream in list(self._streams.values()):
            due = stream.began_at + receiving_s + stream.received_bytes / MIN_RATE
            if not stream.body_complete and now > due:
                self._refuse(stream, SLOW)
        known, self._stuck = self._stuck, {}
        for number, size in self._windows.left().items():
            before = known.get(number)
            self._stuck[number] = (size, now) if before is None or before[0] != size else before
            if now - self._stuck[number][1] > idle_s:
                self._windows.forget(number)
                self._reset(number, frames.CANCEL)
        self._close_if_done()

    def _opening(self, block: bytes) -> bytes:
        """Make a block the connection's first, if it is: that one must say that our table has no size either."""
        said, self._said_no_table = self._said_no_table, True
        return block if said else NO_TABLE + block

    def _reset(self, number: int, code: int) -> None:
        self._send([frame(frames.RST_STREAM, 0, number, frames.write_u32(code))])

    def _go_away(self, code: int) -> None:
        self._send([frame(frames.GOAWAY, 0, 0, frames.write_u32(self._last_stream) + frames.write_u32(code))])

    def _close_if_done(self) -> None:
        if self._closing and not self._streams and not self._windows.left():
            self._flush()
            self._transport.close()

    def _send(self, pieces: list[Buffer]) -> None:
        """Queue pieces; all of this turn of the loop leave in one write."""
        if pieces and not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)
        self._pieces += pieces

    def _flush(self) -> None:
        self._flush_is_due = False
        pieces, self._pieces = self._pieces, []
        if pieces and not self._transport.is_closing():
            write_pieces(self._transport, pieces, sum([len(piece) for piece in pieces]))
