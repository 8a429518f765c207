"""HTTP/2 frames: cut from what is read, and written (RFC 9113, 4 and 6). Pure.

DATA is handed on as it comes, in parts: a large body is not collected twice. Every other frame is handed on whole.
Padding is refused: our only peer has no use for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from serving.protocol.messages import Buffer

(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION) = range(10)
END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
PRIORITISED: Final = 0x20

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR = 0x0, 0x1, 0x3
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x6, 0x7, 0x8, 0x9, 0xB

SETTING_TABLE_SIZE, SETTING_MAX_STREAMS, SETTING_WINDOW, SETTING_MAX_FRAME = 0x1, 0x3, 0x4, 0x5

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: Largest frame that either side sends unless told otherwise: the least that a peer must take.
MAX_FRAME_BYTES: Final = 1 << 14
MAX_WINDOW: Final = (1 << 31) - 1
FIRST_WINDOW: Final = (1 << 16) - 1
#: A head: length (24 bits) and type, flags, stream.
_HEAD: Final = struct.Struct(">IBI")
_SETTING: Final = struct.Struct(">HI")
#: From here on, a view costs less than a copy.
_VIEW_FROM_BYTES: Final = 4096


class ConnectionFault(Exception):
    """The peer breaks the protocol: the connection ends with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class FrameReader:
    """Cuts one connection's bytes into frames."""

    def __init__(self) -> None:
        self._rest = b""
        """The beginning of the preface, or of a frame other than DATA."""
        self._greeted = False
        self._missing = 0
        """Bytes of the DATA frame that is coming in."""
        self._flags = 0
        self._stream = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, Buffer]]:
        """Yield each frame, or part of a DATA frame, that has come: kind, flags, stream and payload.

        Raises:
            ConnectionFault: no preface, a frame that is too large, or padding.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        offset, end = 0, len(data)
        if not self._greeted:
            offset = self._greet(data)
        while offset < end and self._greeted:
            if self._missing:
                stop = min(offset + self._missing, end)
                self._missing -= stop - offset
                flags = self._flags & ~END_STREAM if self._missing else self._flags
                yield DATA, flags, self._stream, _cut(data, offset, stop)
                offset = stop
                continue
            if end - offset < _HEAD.size:
                break
            first, flags, stream = _HEAD.unpack_from(data, offset)
            kind, length = first & 0xFF, first >> 8
            if length > MAX_FRAME_BYTES or (flags & PADDED and kind in {DATA, HEADERS}):
                raise ConnectionFault(FRAME_SIZE_ERROR, f"a frame of {length} bytes, flags {flags:#x}")
            start = offset + _HEAD.size
            stop = start + length
            if stop <= end:
                yield kind, flags, stream, _cut(data, start, stop)
                offset = stop
            elif kind == DATA:
                self._missing, self._flags, self._stream = length, flags, stream
                offset = start
            else:
                break
        self._rest = data[offset:]

    def _greet(self, data: bytes) -> int:
        """Pass over the preface; 0 while it has not come whole."""
        if data[: len(PREFACE)] != PREFACE[: len(data)]:
            raise ConnectionFault(PROTOCOL_ERROR, "no HTTP/2")
        self._greeted = len(data) >= len(PREFACE)
        return len(PREFACE) if self._greeted else 0


def frame_head(kind: int, flags: int, stream: int, length: int) -> bytes:
    """Write what stands before a payload."""
    return _HEAD.pack(length << 8 | kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write a frame."""
    return _HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings_frame(values: dict[int, int]) -> bytes:
    """Announce how we want to be spoken to."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(*pair) for pair in values.items()]))


def read_settings(payload: Buffer) -> dict[int, int]:
    """Read the peer's announcement.

    Raises:
        ConnectionFault: it is no list of settings.
    """
    if len(payload) % _SETTING.size:
        raise ConnectionFault(FRAME_SIZE_ERROR, "settings of a wrong length")
    return dict(_SETTING.iter_unpack(payload))


def read_u32(payload: Buffer) -> int:
    """Read the one number of a RST_STREAM or WINDOW_UPDATE.

    Raises:
        ConnectionFault: it has another length.
    """
    if len(payload) != 4:
        raise ConnectionFault(FRAME_SIZE_ERROR, "a number of a wrong length")
    return int.from_bytes(payload, "big")


def write_u32(value: int) -> bytes:
    """Write that number."""
    return value.to_bytes(4, "big")


def _cut(data: bytes, start: int, stop: int) -> Buffer:
    return data[start:stop] if stop - start < _VIEW_FROM_BYTES else memoryview(data)[start:stop]
