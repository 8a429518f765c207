"""Requests at a fixed rate over kept-alive connections, and the id of every answer.

An open loop: as long as a connection is free, an answer that is late delays no other request. Far cheaper than an HTTP
library, so that on a small machine the gateway is what is loaded. A request whose connection dies is not sent again: it
was not answered, and the sender says how many there were.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import Final

_HEAD_END: Final = b"\r\n\r\n"
_RECONNECT_S: Final = 0.02
_REQUEST_ID: Final = b"x-shepherd-request-id: "
_LENGTH: Final = b"content-length: "


class Paced:
    """Sends one request over and over from `start` to `stop`, in a thread of its own."""

    def __init__(self, port: int, path: str, body: bytes, *, rate: float, connections: int = 16) -> None:
        self._port = port
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._rate = rate
        self._connections = connections
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="paced")
        self.sent = 0
        self.answered: list[str] = []
        """Ids of requests that were answered with 200."""
        self.refused: list[bytes] = []
        """First lines of other answers."""
        self.cut_off = 0
        """Requests whose connection died before the whole answer was there."""

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more, and wait for what is due."""
        self._stopping.set()
        self._thread.join()

    async def _run(self) -> None:
        due: deque[None] = deque()
        clients = [asyncio.create_task(self._client(due)) for _ in range(self._connections)]
        started, put = time.perf_counter(), 0
        while not self._stopping.is_set():
            await asyncio.sleep(0.002)
            owed = int((time.perf_counter() - started) * self._rate) - put
            due.extend([None] * owed)
            put += owed
        await asyncio.gather(*clients)

    async def _client(self, due: deque[None]) -> None:
        """Take what is due; the queue is not awaited but looked at, since it is hardly ever empty for long."""
        stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while due or not self._stopping.is_set():
            try:
                if stream is None:
                    stream = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(_RECONNECT_S)
                continue
            if not due:
                await asyncio.sleep(0.001)
                continue
            due.popleft()
            try:
                self._take(*await self._ask(*stream))
            except (OSError, asyncio.IncompleteReadError):
                self.cut_off += 1
                stream[1].close()
                stream = None
        if stream is not None:
            stream[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bytes, bytes]:
        self.sent += 1
        writer.write(self._request)
        head = await reader.readuntil(_HEAD_END)
        length = _field(head, _LENGTH)
        return head, await reader.readexactly(int(length or b"0"))

    def _take(self, head: bytes, _body: bytes) -> None:
        if head.startswith(b"HTTP/1.1 200 "):
            self.answered.append(_field(head, _REQUEST_ID).decode())
        else:
            self.refused.append(head.partition(b"\r\n")[0])


def _field(head: bytes, name: bytes) -> bytes:
    """Return a header's value; the gateway writes names in lower case."""
    return head.partition(b"\r\n" + name)[2].partition(b"\r\n")[0]
