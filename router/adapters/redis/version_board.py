"""The board of version states in Redis: one key, replaced whole, announced by pub/sub and re-read as a safety net."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec
from redis.exceptions import RedisError

from router.adapters.redis.client import asyncio_client
from router.adapters.redis.following import follow
from router.ports import StoreUnavailable, VersionStatus

_decode = msgspec.json.Decoder(tuple[VersionStatus, ...]).decode


class RedisVersionBoard:
    """A `VersionBoard` shared by every process that is given the same URL."""

    def __init__(self, url: str, *, prefix: str = "shepherd:", poll_s: float = 1.0, timeout_s: float = 5.0) -> None:
        self._redis = asyncio_client(url, timeout_s=timeout_s)
        self._poll_s = poll_s
        self._key = f"{prefix}versions"
        self._changes = f"{prefix}version_changes"

    async def close(self) -> None:
        """Give back the connections."""
        await self._redis.aclose()

    async def publish(self, statuses: Sequence[VersionStatus]) -> None:
        """Replace what is on the board."""
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(self._key, msgspec.json.encode(statuses))
                pipe.publish(self._changes, b"")
                await pipe.execute()
        except RedisError as error:
            raise StoreUnavailable(f"cannot publish the states of versions: {error}") from error

    async def read(self) -> Sequence[VersionStatus]:
        """Read the board; empty when nothing was ever published."""
        try:
            raw = await self._redis.get(self._key)
            return _decode(raw) if raw else ()
        except (RedisError, msgspec.MsgspecError) as error:
            raise StoreUnavailable(f"cannot read the states of versions: {error}") from error

    def watch(self) -> AsyncIterator[Sequence[VersionStatus]]:
        """Yield the board now and after each change; waits out failures with growing pauses."""
        last: Sequence[VersionStatus] | None = None

        async def read() -> Sequence[VersionStatus] | None:
            nonlocal last
            board = await self.read()
            if board == last:
                return None
            last = board
            return board

        return follow(self._redis, self._changes, read, poll_s=self._poll_s, what="the states of versions")
