"""The policy store in Redis or Valkey.

Keys, all under one prefix (default `shepherd:`):

- `policies`                   hash   model -> stored policy as JSON
- `policy_revisions:<model>`   list   every revision kept, oldest first; outlives a delete
- `policy_epoch`               string
- `audit`                      stream one entry per write, its id `<seq>-0`
- `policy_changes`             channel, each message the new epoch

A write changes all of them in one MULTI/EXEC that WATCHes the end of the audit log, which every write moves: so writes
are serial, and the compare-and-set on the revision and the link to the previous audit entry are safe without a lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, WatchError
from redis.exceptions import TimeoutError as RedisTimeoutError

from router.adapters.policy_json import UnreadablePolicy, decode_stored, encode_stored
from router.adapters.policy_write import KEPT_REVISIONS, Standing, Write, plan_delete, plan_put
from router.policy.audit import AuditEntry
from router.policy.document import Policy
from router.ports import PolicySnapshot, StoredPolicy, StoreUnavailable

_log = logging.getLogger(__name__)

# Each lost race means that somebody else's write went through, so this many in a row is a storm and not a hang.
_MAX_RACES = 100
_FIRST_BACKOFF_S = 0.05
_MAX_BACKOFF_S = 1.0

_Answer = TypeVar("_Answer")

_audit_decoder = msgspec.json.Decoder(AuditEntry)


class RedisPolicyStore:
    """A `PolicyStore` shared by every process that is given the same URL (`redis://`, `rediss://` or `unix://`).

    Every method raises `StoreUnavailable` when Redis cannot be reached or refuses; `watch` waits instead.
    """

    def __init__(self, url: str, *, prefix: str = "shepherd:", poll_s: float = 1.0, timeout_s: float = 5.0) -> None:
        self._where = _without_secrets(url)
        # No retries by the client: it would repeat an EXEC of which it does not know whether it took effect.
        self._redis: Redis = Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )
        self._poll_s = poll_s
        self._policies = f"{prefix}policies"
        self._revisions = f"{prefix}policy_revisions:"
        self._epoch = f"{prefix}policy_epoch"
        self._audit = f"{prefix}audit"
        self._changes = f"{prefix}policy_changes"

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
            stored = {name.decode(): decode_stored(raw, model=name.decode()) for name, raw in policies.items()}
        return PolicySnapshot(int(epoch or 0), stored)

    async def get(self, model: str) -> StoredPolicy | None:
        """Read one policy."""
        with self._reporting():
            raw = await self._redis.hget(self._policies, model)
            return None if raw is None else decode_stored(raw, model=model)

    async def put(self, policy: Policy, *, expected_revision: int, actor: str, reason: str, at: float) -> StoredPolicy:
        """Write a revision if the current one is `expected_revision` (0: there is none); else `RevisionConflict`."""

        def plan(standing: Standing) -> tuple[StoredPolicy, Write]:
            return plan_put(standing, policy, expected_revision=expected_revision, actor=actor, reason=reason, at=at)

        return await self._write(policy.model, plan)

    async def delete(self, model: str, *, expected_revision: int, actor: str, reason: str, at: float) -> None:
        """Remove a policy, under the same condition as `put`."""

        def plan(standing: Standing) -> tuple[None, Write]:
            return None, plan_delete(
                standing, model, expected_revision=expected_revision, actor=actor, reason=reason, at=at
            )

        await self._write(model, plan)

    async def revisions(self, model: str) -> Sequence[StoredPolicy]:
        """Every revision kept, oldest first; a delete keeps them."""
        with self._reporting():
            raw = await self._redis.lrange(self._revisions + model, 0, -1)
            return tuple(decode_stored(one, model=model) for one in raw)

    async def audit(self, *, after_seq: int = 0, limit: int = 1000) -> Sequence[AuditEntry]:
        """Read the audit log from a place on, oldest first."""
        with self._reporting():
            found: Any = await self._redis.xrange(self._audit, min=f"{after_seq + 1}-0", count=limit)
            return tuple(_audit_decoder.decode(fields[b"entry"]) for _, fields in found)

    async def watch(self) -> AsyncGenerator[PolicySnapshot, None]:
        """Yield the current snapshot, then a new one after each change; never one with a smaller epoch.

        Told by pub/sub; asks for the epoch every `poll_s` besides, since pub/sub loses what is sent while it
        reconnects. Redis away: waits for it, as long as it takes.
        """
        seen = -1
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(self._changes)
                    while True:
                        if int(await self._redis.get(self._epoch) or 0) > seen:
                            snapshot = await self.snapshot()
                            if snapshot.epoch > seen:
                                seen = snapshot.epoch
                                yield snapshot
                        if backoff_s > _FIRST_BACKOFF_S:
                            _log.info("following policies at %s again", self._where)
                            backoff_s = _FIRST_BACKOFF_S
                        await subscription.get_message(ignore_subscribe_messages=True, timeout=self._poll_s)
            except (RedisError, OSError, StoreUnavailable) as error:
                if backoff_s == _FIRST_BACKOFF_S:  # once per outage
                    _log.warning("cannot follow policies at %s, trying on: %s", self._where, error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

    async def _write(self, model: str, plan: Callable[[Standing], tuple[_Answer, Write]]) -> _Answer:
        with self._reporting():
            for _ in range(_MAX_RACES):
                async with self._redis.pipeline(transaction=True) as pipe:
                    try:
                        await pipe.watch(self._audit)
                        answer, write = plan(await self._standing(pipe, model))
                        pipe.multi()  # type: ignore[no-untyped-call]
                        self._queue(pipe, write)
                        await pipe.execute()
                    except WatchError as error:
                        _check_connected(error)
                    else:
                        return answer
        raise StoreUnavailable(f"policy store at {self._where}: too many writers at once; try again")

    async def _standing(self, pipe: Pipeline, model: str) -> Standing:
        """Read, on a connection that watches, what a write of this model depends on."""
        current = await pipe.hget(self._policies, model)
        last = await pipe.lindex(self._revisions + model, -1)
        entries: Any = await pipe.xrevrange(self._audit, count=1)
        return Standing(
            current=None if current is None else decode_stored(current, model=model),
            last_revision=0 if last is None else decode_stored(last, model=model).revision,
            last_entry=_audit_decoder.decode(entries[0][1][b"entry"]) if entries else None,
            epoch=int(await pipe.get(self._epoch) or 0),
        )

    def _queue(self, pipe: Pipeline, write: Write) -> None:
        if write.stored is None:
            pipe.hdel(self._policies, write.model)
        else:
            encoded = encode_stored(write.stored)
            pipe.hset(self._policies, write.model, encoded)
            pipe.rpush(self._revisions + write.model, encoded)
            pipe.ltrim(self._revisions + write.model, -KEPT_REVISIONS, -1)
        pipe.xadd(self._audit, {"entry": msgspec.json.encode(write.entry)}, id=f"{write.entry.seq}-0")
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


def _check_connected(error: WatchError) -> None:
    """Raise unless `error` means a lost race.

    The client also raises it for a connection lost while watching, when the write may or may not have taken effect:
    trying that again could report a conflict with ourselves.
    """
    cause = error.__context__
    if isinstance(cause, RedisConnectionError | RedisTimeoutError):
        raise cause


def _without_secrets(url: str) -> str:
    """Return the URL for messages: no user, no password, no options."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"
