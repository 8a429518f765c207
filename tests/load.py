"""Steady traffic from clients that behave: they reconnect, and repeat a request only if no answer began."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx


class Answer(NamedTuple):
    """One answer as a client saw it."""

    status: int
    version: str
    request_id: str
    text: str


class Traffic:
    """Clients in a thread of their own, from `start` to `stop`."""

    def __init__(self, url: str, body: dict[str, Any], *, clients: int, pause_s: float) -> None:
        self._url = url
        self._body = body
        self._clients = clients
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.answers: list[Answer] = []
        self.reconnects = 0

    @property
    def statuses(self) -> Counter[int]:
        """How the answers so far divide."""
        return Counter(answer.status for answer in list(self.answers))

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the answers that are due, then end."""
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self._clients)))

    async def _client(self, number: int) -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            asked = 0
            while not self._stop.is_set():
                asked += 1
                headers = {"x-user-id": f"{number}-{asked}"}
                try:
                    answer = await client.post(self._url, json=self._body, headers=headers)
                except httpx.TransportError:  # the router is gone: on to a sibling, or to the one that takes its place
                    self.reconnects += 1
                    await asyncio.sleep(0.05)
                    continue
                seen = answer.headers
                self.answers.append(
                    Answer(
                        answer.status_code,
                        seen.get("x-shepherd-version", ""),
                        seen.get("x-shepherd-request-id", ""),
                        answer.text[:200],
                    )
                )
                await asyncio.sleep(self._pause_s)


@contextmanager
def traffic(url: str, body: dict[str, Any], *, clients: int = 4, pause_s: float = 0.005) -> Iterator[Traffic]:
    """Send traffic for the length of a block."""
    running = Traffic(url, body, clients=clients, pause_s=pause_s)
    running.start()
    try:
        yield running
    finally:
        running.stop()
