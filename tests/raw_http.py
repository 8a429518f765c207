"""An HTTP/1.1 client that says exactly the bytes it is told, for tests of what ordinary clients never send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

#: Longer than any answer takes, so that a test which waits for nothing fails soon.
PATIENCE_S = 10.0


class RawAnswer(NamedTuple):
    """One answer as it came off the wire."""

    status: int
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class RawPeer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *parts: bytes) -> None:
        """Send each part on its own."""
        for part in parts:
            self._writer.write(part)
            await self._writer.drain()

    async def answer(self, *, to_head: bool = False) -> RawAnswer:
        """Read one answer; `to_head` says that the request was a HEAD, whose answer has no body."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            start, *lines = head.split("\r\n")[:-2]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            assert "transfer-encoding" not in headers, "the gateway's answers have a length"
            length = 0 if to_head else int(headers.get("content-length", "0"))
            return RawAnswer(int(start.split()[1]), headers, await self._reader.readexactly(length))

    async def is_closed(self) -> bool:
        """Wait until the server hangs up; False when it says something instead."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self._reader.read(1) == b""
            except ConnectionResetError:
                return True

    async def is_open(self) -> bool:
        """Tell whether the connection still answers."""
        try:
            await self.send(b"GET /v2/health/live HTTP/1.1\r\nhost: h\r\n\r\n")
            return (await self.answer()).status == 200
        except (asyncio.IncompleteReadError, ConnectionError):
            return False

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def raw_peer(port: int) -> AsyncIterator[RawPeer]:
    """Connect to a port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    try:
        yield RawPeer(reader, writer)
    finally:
        writer.close()


async def echoed(peer: RawPeer) -> list[float]:
    """Read one answer, which must be a success of the echo model; give its values."""
    answer = await peer.answer()
    assert answer.status == 200, answer.body
    values: list[float] = answer.json()["outputs"][0]["data"]
    return values


def infer_body(*values: float) -> bytes:
    """Write a V2 request with one FP32 row named `x`."""
    tensor = {"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": list(values)}
    return json.dumps({"inputs": [tensor]}).encode()


def request(path: str, body: bytes = b"", *headers: str, method: str = "POST", version: str = "1.1") -> bytes:
    """Write one request, with `content-length` unless the headers frame the body in their own way."""
    lines = [f"{method} {path} HTTP/{version}", "host: h", *headers]
    framed = any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers)
    if (body or method == "POST") and not framed:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*pieces: bytes, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """Frame pieces as a chunked body."""
    chunks = [b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces if piece]
    return b"".join(chunks) + b"0\r\n" + trailers + b"\r\n"
