"""The policy store in Redis or Valkey.

Keys, all under one prefix (default `shepherd:`):

- `policies`                   hash   model -> stored policy as JSON
- `policy_revisions:<model>`   list   every revision kept, oldest first; outlives a delete
- `policy_epoch`               string
- `audit`                      stream one entry per write, its id `<seq>-0`
- `policy_changes`             channel, each message the new epoch

A write changes all of them in one MULTI/EXEC that WATCHes the end of the audit log, which every write moves: so writes
are serial, and the compare-and-set on the revision and the link to the previous audit entry are safe without a lock.

A policy that this release cannot read, because another wrote it or somebody's hand, holds up no other model: its
youngest revision that can be read stands in for it, also under the write that replaces it. Where there is none, the
whole read is refused: a snapshot without the model would fail its traffic.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from router.adapters.policy_json import UnreadablePolicy, decode_stored, encode_stored, revision_of
from router.adapters.policy_write import (
    KEPT_REVISIONS,
    CurrentPolicy,
    SingleWrites,
    StoreState,
    Write,
    check_distinct,
    plan_writes,
)
from router.adapters.redis.audit import decode_entry, queue_entry, read_last_entry, transact
from router.adapters.redis.client import asyncio_client
from router.adapters.redis.following import follow
from router.policy.audit import AuditEntry, next_entry
from router.ports import PolicyChange, PolicySnapshot, StoredPolicy, StoreUnavailable

#: Revisions among which one that can be read is looked for.
_STAND_INS: Final = 100
_log = logging.getLogger(__name__)


class _Known(NamedTuple):
    """A policy as it is kept, and as it is used."""

    raw: bytes | str
    stored: StoredPolicy
    problem: str
    """Why `stored` is an older revision; empty when it is what is kept."""


class RedisPolicyStore(SingleWrites):
    """A `PolicyStore` shared by every process that is given the same URL (`redis://`, `rediss://` or `unix://`).

    Every method raises `StoreUnavailable` when Redis cannot be reached or refuses; `watch` waits instead.
    """

    def __init__(self, url: str, *, prefix: str = "shepherd:", poll_s: float = 1.0, timeout_s: float = 5.0) -> None:
        self._where = _without_secrets(url)
        self._redis = asyncio_client(url, timeout_s=timeout_s)
        self._poll_s = poll_s
        self._policies = f"{prefix}policies"
        self._revisions = f"{prefix}policy_revisions:"
        self._epoch = f"{prefix}policy_epoch"
        self._audit = f"{prefix}audit"
        self._changes = f"{prefix}policy_changes"
        self._decoded: dict[bytes, _Known] = {}
        """By model name: what the last snapshot held."""

    async def close(self) -> None:
        """Give back the connections."""
        await self._redis.aclose()

    async def snapshot(self) -> PolicySnapshot:
        """Read everything, consistently."""
        with self._reporting():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.get(self._epoch)
                pipe.hgetall(self._policies)
                epoch, policies = await pipe.execute()
            known = await self._decode(policies)
            stored = {name.decode(): each.stored for name, each in known.items()}
            return PolicySnapshot(
                int(epoch or 0), stored, tuple(each.problem for each in known.values() if each.problem)
            )

    async def get(self, model: str) -> StoredPolicy | None:
        """Read one policy."""
        with self._reporting():
            raw = await self._redis.hget(self._policies, model)
            return None if raw is None else (await self._read(raw, model)).stored

    async def write(
        self, changes: Sequence[PolicyChange], *, actor: str, reason: str, at: float
    ) -> Sequence[StoredPolicy | None]:
        """Make several changes, all of them or none."""
        check_distinct(changes)

        async def act(pipe: Pipeline) -> tuple[Write, ...]:
            state = await self._state(pipe, changes)
            writes = plan_writes(state, changes, actor=actor, reason=reason, at=at)
            pipe.multi()  # type: ignore[no-untyped-call]
            for write in writes:
                self._queue(pipe, write)
            return writes

        with self._reporting():
            writes = await transact(self._redis, (self._audit,), act)
        return tuple(write.stored for write in writes)

    async def note(
        self, *, action: str, actor: str, reason: str, model: str, before: Any, after: Any, at: float
    ) -> AuditEntry:
        """Write down an act that changes no policy."""

        async def act(pipe: Pipeline) -> AuditEntry:
            last = await read_last_entry(pipe, self._audit)
            entry = next_entry(
                last, at=at, actor=actor, action=action, reason=reason, model=model, before=before, after=after
            )
            pipe.multi()  # type: ignore[no-untyped-call]
            queue_entry(pipe, self._audit, entry)
            return entry

        with self._reporting():
            return await transact(self._redis, (self._audit,), act)

    async def revisions(self, model: str) -> Sequence[StoredPolicy]:
        """Every revision kept, oldest first; a delete keeps them."""
        with self._reporting():
            return await self._readable(model, 0)

    async def audit(self, *, after_seq: int = 0, limit: int = 1000) -> Sequence[AuditEntry]:
        """Read the audit log from a place on, oldest first."""
        with self._reporting():
            found: Any = await self._redis.xrange(self._audit, min=f"{after_seq + 1}-0", count=limit)
            return tuple(decode_entry(fields) for _, fields in found)

    def watch(self) -> AsyncGenerator[PolicySnapshot, None]:
        """Yield the current snapshot, then a new one after each change; never one with a smaller epoch.

        Redis away: waits for it, as long as it takes.
        """
        seen = -1

        async def read() -> PolicySnapshot | None:
            nonlocal seen
            if int(await self._redis.get(self._epoch) or 0) <= seen:
                return None
            snapshot = await self.snapshot()
            if snapshot.epoch <= seen:
                return None
            seen = snapshot.epoch
            return snapshot

        return follow(self._redis, self._changes, read, poll_s=self._poll_s, what=f"policies at {self._where}")

    async def _decode(self, policies: Mapping[bytes, bytes]) -> dict[bytes, _Known]:
        """Decode what has changed since the last time; a router's requests wait while it does."""
        before, now = self._decoded, {}
        for name, raw in policies.items():
            same = before.get(name)
            if same is None or same.raw != raw:
                same = await self._read(raw, name.decode())
                if same.problem:
                    _log.error("%s", same.problem)
            now[name] = same
        self._decoded = now
        return now

    async def _read(self, raw: bytes | str, model: str) -> _Known:
        """Read a policy, or the youngest revision of it that can be read; else `UnreadablePolicy`."""
        try:
            return _Known(raw, decode_stored(raw, model=model), "")
        except UnreadablePolicy as error:
            readable = await self._readable(model, -_STAND_INS)
            if not readable:
                raise
            revision = readable[-1].revision
            problem = f"{error}; revision {revision} stands in for it, until you write the policy anew over {revision}"
            return _Known(raw, readable[-1], problem)

    async def _readable(self, model: str, first: int) -> tuple[StoredPolicy, ...]:
        """Read the revisions from a place in their list on, those that can be, oldest first."""
        found: list[StoredPolicy] = []
        for raw in await self._redis.lrange(self._revisions + model, first, -1):
            with suppress(UnreadablePolicy):
                found.append(decode_stored(raw, model=model))
        return tuple(found)

    async def _state(self, pipe: Pipeline, changes: Sequence[PolicyChange]) -> StoreState:
        """Read, on a connection that watches, what a write depends on."""
        return StoreState(
            policies={change.model: await self._current(pipe, change.model) for change in changes},
            last_entry=await read_last_entry(pipe, self._audit),
            epoch=int(await pipe.get(self._epoch) or 0),
        )

    async def _current(self, pipe: Pipeline, model: str) -> CurrentPolicy:
        raw = await pipe.hget(self._policies, model)
        last = await pipe.lindex(self._revisions + model, -1)
        return CurrentPolicy(
            stored=None if raw is None else (await self._read(raw, model)).stored,
            last_revision=0 if last is None else revision_of(last, model=model),
        )

    def _queue(self, pipe: Pipeline, write: Write) -> None:
        if write.stored is None:
            pipe.hdel(self._policies, write.model)
        else:
            encoded = encode_stored(write.stored)
            pipe.hset(self._policies, write.model, encoded)
            pipe.rpush(self._revisions + write.model, encoded)
            pipe.ltrim(self._revisions + write.model, -KEPT_REVISIONS, -1)
        queue_entry(pipe, self._audit, write.entry)
        pipe.set(self._epoch, write.epoch)
        pipe.publish(self._changes, write.epoch)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turn what Redis and the network raise into `StoreUnavailable` with words for the operator."""
        try:
            yield
        except (RedisError, OSError) as error:
            raise StoreUnavailable(
                f"policy store at {self._where}: {error}; start it or correct the Redis URL. "
                "Traffic goes on with the policies last seen. If this was a write, read the policy before trying again"
            ) from error
        except (UnreadablePolicy, msgspec.DecodeError) as error:
            raise StoreUnavailable(
                f"policy store at {self._where}: {error}; put it right there, or run the release that wrote it"
            ) from error


def _without_secrets(url: str) -> str:
    """Return the URL for messages: no user, no password, no options."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"
