"""A keep-alive HTTP/1.1 connection that posts JSON: as little as a load source needs, so that it measures the gateway.

General HTTP clients spend more time on a request than the gateway does. This one reads answers that carry a
Content-Length, as the gateway's do, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple


class Reply(NamedTuple):
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """One connection, opened at the first request and again after a failure. One request at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float) -> Reply:
        """Send a request and read its answer.

        Raises:
            OSError: no connection, a lost one, an answer of another form, or none in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = self._streams = self._streams or await asyncio.open_connection(self._host, self._port)
                writer.write(self._head(path, headers, len(body)) + body)
                await writer.drain()
                return await _read_reply(reader)
        except (OSError, EOFError, ValueError, KeyError, asyncio.LimitOverrunError) as error:
            self.close()
            raise OSError(f"{self._host}:{self._port}: {error!r}") from error

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._streams:
            self._streams[1].close()
            self._streams = None

    def _head(self, path: str, headers: Mapping[str, str], body_bytes: int) -> bytes:
        lines = [
            f"POST {path} HTTP/1.1",
            f"host: {self._host}:{self._port}",
            "content-type: application/json",
            f"content-length: {body_bytes}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _read_reply(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head[:-4].split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Reply(int(status_line.split(" ", 2)[1]), headers, body)
