"""Telling readers in this process that a store has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

_Snapshot = TypeVar("_Snapshot")


class Changes:
    """Changes of one store."""

    def __init__(self) -> None:
        self._count = 0
        self._next = asyncio.Event()

    def announce(self) -> None:
        """Wake everybody who waits, and have the next ones wait for the next change."""
        self._count += 1
        self._next.set()
        self._next = asyncio.Event()

    async def follow(self, read: Callable[[], Awaitable[_Snapshot]]) -> AsyncGenerator[_Snapshot, None]:
        """Yield what `read` gives, now and after each change; changes in quick succession may come as one."""
        seen = -1
        while True:
            change = self._next
            if self._count > seen:
                seen = self._count
                yield await read()
            else:
                await change.wait()
