"""What the monitor has stored in Redis or Valkey, for those who look and hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from redis.exceptions import RedisError

from router.adapters.redis.client import asyncio_client
from router.adapters.redis.incidents import RedisIncidents
from router.adapters.redis.monitor_keys import monitor_keys
from router.monitor.book import Book
from router.monitor.book_settings import BookSettings
from router.monitor.incident import Incident
from router.monitor.trial import TrialState, decode_trial, trial_field
from router.ports import StoreUnavailable


class RedisWatch:
    """A `Watch` on the monitor of every process that is given the same URL."""

    def __init__(self, url: str, *, prefix: str = "shepherd:", timeout_s: float = 5.0) -> None:
        self._redis = asyncio_client(url, timeout_s=timeout_s)
        self._incidents = RedisIncidents(url, prefix=prefix, timeout_s=timeout_s)
        self._keys = monitor_keys(prefix)

    async def close(self) -> None:
        """Give back the connections."""
        await self._incidents.close()
        await self._redis.aclose()

    async def book(self) -> Book:
        """Read the monitor's book as last stored."""
        with _reporting():
            parts: Any = await self._redis.hgetall(self._keys.state)
            book = Book(BookSettings(), lambda _model, _version: None)
            book.restore({name.decode(): data for name, data in parts.items()})
            return book

    async def trial(self, model: str) -> TrialState | None:
        """Read what was counted for a model's last rollout with checks on predictions or labels."""
        with _reporting():
            data: Any = await self._redis.hget(self._keys.state, trial_field(model))
            return None if data is None else decode_trial(data)

    async def incidents(self, limit: int, model: str | None = None) -> Sequence[Incident]:
        """List incidents as they stand, the youngest first."""
        return await self._incidents.incidents(limit, model)

    async def holds(self) -> Mapping[str, str]:
        """Read for which models automatic rollbacks are held, and why."""
        with _reporting():
            held: Any = await self._redis.hgetall(self._keys.holds)
        return {model.decode(): reason.decode() for model, reason in held.items()}

    async def hold(self, model: str, reason: str | None) -> None:
        """Forbid automatic rollbacks of a model; None allows them again."""
        with _reporting():
            if reason is None:
                await self._redis.hdel(self._keys.holds, model)
            else:
                await self._redis.hset(self._keys.holds, model, reason)


@contextmanager
def _reporting() -> Iterator[None]:
    """Say what a failure means for who looks."""
    try:
        yield
    except (RedisError, OSError, msgspec.DecodeError) as error:
        raise StoreUnavailable(f"Redis, where the monitor keeps its state: {error}") from error
