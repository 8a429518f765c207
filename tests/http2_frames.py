"""HTTP/2 frames by hand, for tests of what Envoy itself never sends."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from router.gateway.http.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, frame, settings_frame
from router.gateway.http.http2.headers import header, read_head
from tests.grpc_calls import INFER

PATIENCE_S = 10.0
#: Payload that a frame may have unless the peer has agreed to more (RFC 9113, 4.2).
MAX_FRAME_BYTES = 16_384
FrameParts = tuple[int, int, int, bytes]


def whole_frames(data: bytes) -> list[FrameParts]:
    """Cut bytes that hold whole frames: kind, flags, stream and payload of each."""
    found, offset = [], 0
    while offset < len(data):
        first, flags, stream = struct.unpack_from(">IBI", data, offset)
        end = offset + 9 + (first >> 8)
        found.append((first & 0xFF, flags, stream, data[offset + 9 : end]))
        offset = end
    return found


def framed(message: bytes) -> bytes:
    """Put gRPC's prefix before a message."""
    return struct.pack(">BI", 0, len(message)) + message


def call_head(**metadata: str) -> bytes:
    """Write the header block of an inference."""
    block = b"\x83" + header(":path", INFER) + header("content-type", "application/grpc")
    return block + b"".join([header(name.replace("_", "-"), value) for name, value in metadata.items()])


def call(stream: int, message: bytes, **metadata: str) -> bytes:
    """Write a whole inference: its headers and its message, in as many frames as it takes."""
    head = frame(HEADERS, END_HEADERS, stream, call_head(**metadata))
    body = framed(message)
    pieces = [body[start : start + MAX_FRAME_BYTES] for start in range(0, len(body), MAX_FRAME_BYTES)]
    return b"".join(
        [
            head,
            *[frame(DATA, 0, stream, piece) for piece in pieces[:-1]],
            frame(DATA, END_STREAM, stream, pieces[-1]),
        ]
    )


class Http2Peer:
    """A connection that says the bytes it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *parts: bytes) -> None:
        """Send all of it."""
        self._writer.write(b"".join(parts))
        await self._writer.drain()

    async def frame(self, *kinds: int) -> FrameParts:
        """Read on to the next frame, of these kinds if any are named."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                head = await self._reader.readexactly(9)
                first, flags, stream = struct.unpack(">IBI", head)
                payload = await self._reader.readexactly(first >> 8)
                if not kinds or first & 0xFF in kinds:
                    return first & 0xFF, flags, stream, payload

    async def answer(self, stream: int) -> tuple[dict[str, str], bytes, dict[str, str]]:
        """Read one call's answer, which nothing else may interrupt: headers, body, trailers."""
        blocks, body = [], b""
        while True:
            kind, flags, number, payload = await self.frame(HEADERS, DATA)
            assert number == stream
            if kind == DATA:
                body += payload
            else:
                blocks.append(read_head(payload).headers)
            if flags & END_STREAM:
                return blocks[0], body, blocks[-1]

    async def is_closed(self) -> bool:
        """Wait for the end of the connection, whatever is said before."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._reader.read(1 << 16):
                pass
            return True


@asynccontextmanager
async def http2_peer(socket: Path, settings: dict[int, int] | None = None) -> AsyncIterator[Http2Peer]:
    """Connect to a router as Envoy does."""
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        peer = Http2Peer(reader, writer)
        await peer.send(PREFACE, settings_frame(settings or {}))
        yield peer
    finally:
        writer.close()
        await writer.wait_closed()
