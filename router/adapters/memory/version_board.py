"""A board of version states in memory: for tests, and for embedding a gateway that needs no other process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from router.adapters.memory.changes import Changes
from router.ports import VersionStatus


class MemoryVersionBoard:
    """A `VersionBoard` that lives and dies with its process."""

    def __init__(self) -> None:
        self._statuses: Sequence[VersionStatus] = ()
        self._changes = Changes()

    async def publish(self, statuses: Sequence[VersionStatus]) -> None:
        """Replace what is on the board."""
        self._statuses = tuple(statuses)
        self._changes.announce()

    async def read(self) -> Sequence[VersionStatus]:
        """Read the board."""
        return self._statuses

    def watch(self) -> AsyncIterator[Sequence[VersionStatus]]:
        """Yield the board now and after each change."""
        return self._changes.follow(self.read)
