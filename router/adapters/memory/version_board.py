"""A board of version states in memory: for tests, and for embedding a gateway that needs no other process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from router.ports import VersionStatus


class MemoryVersionBoard:
    """A `VersionBoard` that lives and dies with its process."""

    def __init__(self) -> None:
        self._statuses: Sequence[VersionStatus] = ()
        self._changed = asyncio.Event()

    async def publish(self, statuses: Sequence[VersionStatus]) -> None:
        """Replace what is on the board."""
        self._statuses = tuple(statuses)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def read(self) -> Sequence[VersionStatus]:
        """Read the board."""
        return self._statuses

    async def watch(self) -> AsyncIterator[Sequence[VersionStatus]]:
        """Yield the board now and after each change."""
        while True:
            changed = self._changed
            yield self._statuses
            await changed.wait()
