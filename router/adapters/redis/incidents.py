"""Incidents in Redis or Valkey: the stream of transitions, read by those who act on it and by those who look.

Keys, under one prefix (default `shepherd:`):

- `incidents`       stream  `transition` as JSON, written by `monitor_state`; one group for each kind of act
- `incidents:dead`  stream  what could not be delivered: `transition`, `to`, `why`; bounded
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from router.adapters.redis.client import asyncio_client
from router.monitor.incident import Incident, Transition, decode_transition, encode_transition
from router.ports import StoreUnavailable

_CONSUMER: Final = "monitor"
_MAX_DEAD: Final = 1000


class RedisIncidents:
    """The transitions of all incidents. Every method may raise `StoreUnavailable`."""

    def __init__(self, url: str, *, prefix: str = "shepherd:", timeout_s: float = 5.0) -> None:
        self._redis = asyncio_client(url, timeout_s=timeout_s)
        self._stream = f"{prefix}incidents"
        self._dead = f"{prefix}incidents:dead"

    async def close(self) -> None:
        """Give back the connections."""
        await self._redis.aclose()

    async def begin(self, group: str, *, forget_past: bool = False) -> None:
        """Make a kind of act's place in the stream unless it has one: at its beginning, or where the past is over."""
        with _reporting(), contextlib.suppress(ResponseError):  # BUSYGROUP: it is there
            await self._redis.xgroup_create(self._stream, group, "$" if forget_past else "0", mkstream=True)

    async def retire(self, prefix: str, keep: Collection[str]) -> None:
        """Drop the places of kinds of act that begin with a prefix, but for those to keep."""
        with _reporting(), contextlib.suppress(ResponseError):  # there is no stream yet
            groups: Any = await self._redis.xinfo_groups(self._stream)
            for name in (each["name"].decode() for each in groups):
                if name.startswith(prefix) and name not in keep:
                    await self._redis.xgroup_destroy(self._stream, name)

    async def unacknowledged(self, group: str, after: str = "0") -> list[tuple[str, Transition]]:
        """Read a page of what was read for a kind of act before, but not done: `(entry, transition)`, oldest first."""
        await self.begin(group)
        return await self._read(group, after, None)

    async def wait(self, group: str, block_ms: int) -> list[tuple[str, Transition]]:
        """Wait for new transitions; empty when none came in time."""
        return await self._read(group, ">", block_ms)

    async def done(self, group: str, entry: str) -> None:
        """Say that a kind of act was done about a transition."""
        with _reporting():
            await self._redis.xack(self._stream, group, entry)

    async def bury(self, transition: Transition, to: str, why: str) -> None:
        """Keep aside what could not be delivered."""
        with _reporting():
            fields: Any = {"transition": encode_transition(transition), "to": to, "why": why}
            await self._redis.xadd(self._dead, fields, maxlen=_MAX_DEAD)

    async def incidents(self, limit: int, model: str | None = None) -> Sequence[Incident]:
        """List incidents as they stand, the youngest first."""
        with _reporting():
            rows: Any = await self._redis.xrevrange(self._stream)
        found: dict[str, Incident] = {}
        for _, fields in rows:
            incident = decode_transition(fields[b"transition"]).incident
            if (model is None or incident.model == model) and incident.id not in found:
                found[incident.id] = incident
        return sorted(found.values(), key=lambda each: -each.opened_at)[:limit]

    async def _read(self, group: str, after: str, block_ms: int | None) -> list[tuple[str, Transition]]:
        with _reporting():
            answer: Any = await self._redis.xreadgroup(
                group, _CONSUMER, {self._stream: after}, count=64, block=block_ms
            )
        pairs = answer.items() if isinstance(answer, dict) else answer or ()
        return [
            (entry.decode(), decode_transition(fields[b"transition"]))
            for _, entries in pairs
            for entry, fields in entries
            if fields
        ]


@contextmanager
def _reporting() -> Iterator[None]:
    """Say what a failure means for incidents."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"Redis, where incidents are kept: {error}; pending actions run when it answers") from (
            error
        )
