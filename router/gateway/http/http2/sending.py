"""Flow control of what we send: how much the peer has room for, and what waits until it has (RFC 9113, 5.2). Pure.

Nearly every answer fits and passes straight through. What does not is cut at the edge of the windows, and goes on when
the peer grants more.
"""

from __future__ import annotations

from router.gateway.http.http2.frames import (
    DATA,
    FIRST_WINDOW,
    FLOW_CONTROL_ERROR,
    MAX_FRAME_BYTES,
    MAX_WINDOW,
    PROTOCOL_ERROR,
    SETTING_WINDOW,
    ConnectionFault,
    frame_head,
)
from serving.protocol.messages import Buffer


class _Waiting:
    """What is left of an answer."""

    def __init__(self, body: Buffer, end: bytes, window: int) -> None:
        self.body = memoryview(body)
        self.end = end
        self.window = window


class SendWindows:
    """The windows of one connection and of its streams."""

    def __init__(self) -> None:
        self._window = FIRST_WINDOW
        self._first_window = FIRST_WINDOW
        """Of each new stream."""
        self._waiting: dict[int, _Waiting] = {}

    def left(self) -> dict[int, int]:
        """Count the bytes of each answer that has not left whole."""
        return {stream: len(waiting.body) for stream, waiting in self._waiting.items()}

    def send(self, stream: int, body: list[Buffer], size: int, end: bytes) -> list[Buffer]:
        """Return what of an answer's body and of its end may leave now; the rest waits."""
        if size <= MAX_FRAME_BYTES and size <= self._window and size <= self._first_window:
            self._window -= size
            return [frame_head(DATA, 0, stream, size), *body, end] if size else [end]
        self._waiting[stream] = _Waiting(body[0] if len(body) == 1 else b"".join(body), end, self._first_window)
        return self._go_on(stream)

    def grant(self, stream: int, size: int) -> list[Buffer]:
        """Widen the window of a stream, or with 0 the connection's; return what may leave now.

        Raises:
            ConnectionFault: by nothing, or beyond what a window may be.
        """
        if not size:
            raise ConnectionFault(PROTOCOL_ERROR, "a window was widened by nothing")
        if not stream:
            self._window += size
            if self._window > MAX_WINDOW:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "the connection's window is too wide")
            return self._go_on_all()
        waiting = self._waiting.get(stream)
        if waiting is None:
            return []  # of an answer that has left: Envoy widens a stream's window by what it has read of it
        waiting.window += size
        if waiting.window > MAX_WINDOW:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "a stream's window is too wide")
        return self._go_on(stream)

    def configure(self, settings: dict[int, int]) -> list[Buffer]:
        """Heed the peer's settings, which change the windows of open streams too; return what may leave now.

        Raises:
            ConnectionFault: a window that is too wide.
        """
        first_window = settings.get(SETTING_WINDOW, self._first_window)
        if first_window > MAX_WINDOW:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "the first window is too wide")
        for waiting in self._waiting.values():
            waiting.window += first_window - self._first_window
        self._first_window = first_window
        return self._go_on_all()

    def forget(self, stream: int) -> None:
        """Drop what waits for a stream that the peer has reset."""
        self._waiting.pop(stream, None)

    def _go_on_all(self) -> list[Buffer]:
        return [piece for stream in list(self._waiting) for piece in self._go_on(stream)]

    def _go_on(self, stream: int) -> list[Buffer]:
        waiting = self._waiting[stream]
        pieces: list[Buffer] = []
        while waiting.body:
            size = min(len(waiting.body), MAX_FRAME_BYTES, self._window, waiting.window)
            if size <= 0:
                return pieces
            pieces += (frame_head(DATA, 0, stream, size), waiting.body[:size])
            waiting.body = waiting.body[size:]
            self._window -= size
            waiting.window -= size
        del self._waiting[stream]
        return [*pieces, waiting.end]
