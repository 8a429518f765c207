"""Keys of the data plane in Redis or Valkey, beside the policies.

Keys of Redis, all under one prefix (default `shepherd:`):

- `api_keys`         hash   name -> `ApiKey` as JSON: a digest, no secret
- `api_key_epoch`    string
- `api_key_changes`  channel, each message the new epoch

A change and its audit entry are one transaction (`redis_audit`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from router.access.key import ApiKey, KeySnapshot
from router.adapters.key_write import KeyStoreState, KeyWrite, plan_creation, plan_revocation
from router.adapters.redis.audit import queue_entry, read_last_entry, transact
from router.adapters.redis.client import asyncio_client
from router.adapters.redis.following import follow
from router.ports import StoreUnavailable

_decode = msgspec.json.Decoder(ApiKey).decode


class RedisKeyStore:
    """A `KeyStore` shared by every process that is given the same URL."""

    def __init__(self, url: str, *, prefix: str = "shepherd:", poll_s: float = 1.0, timeout_s: float = 5.0) -> None:
        self._redis = asyncio_client(url, timeout_s=timeout_s)
        self._poll_s = poll_s
        self._keys = f"{prefix}api_keys"
        self._epoch = f"{prefix}api_key_epoch"
        self._changes = f"{prefix}api_key_changes"
        self._audit = f"{prefix}audit"

    async def close(self) -> None:
        """Give back the connections."""
        await self._redis.aclose()

    async def snapshot(self) -> KeySnapshot:
        """Read all keys, consistently, by name."""
        with _reporting():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.get(self._epoch)
                pipe.hgetall(self._keys)
                epoch, found = await pipe.execute()
            return KeySnapshot(int(epoch or 0), tuple(_decode(found[name]) for name in sorted(found)))

    async def create(self, key: ApiKey, *, actor: str, reason: str, at: float) -> None:
        """Add a key."""
        await self._change(lambda state: plan_creation(state, key, actor=actor, reason=reason, at=at))

    async def revoke(self, name: str, *, actor: str, reason: str, at: float) -> None:
        """End a key."""
        await self._change(lambda state: plan_revocation(state, name, actor=actor, reason=reason, at=at))

    def watch(self) -> AsyncGenerator[KeySnapshot, None]:
        """Yield the current keys, then all anew after each change; never with a smaller epoch."""
        seen = -1

        async def read() -> KeySnapshot | None:
            nonlocal seen
            if int(await self._redis.get(self._epoch) or 0) <= seen:
                return None
            snapshot = await self.snapshot()
            seen = max(seen, snapshot.epoch)
            return snapshot

        return follow(self._redis, self._changes, read, poll_s=self._poll_s, what="the keys of the data plane")

    async def _change(self, plan: Callable[[KeyStoreState], KeyWrite]) -> None:
        async def act(pipe: Pipeline) -> None:
            found: Any = await pipe.hgetall(self._keys)
            state = KeyStoreState(
                keys={name.decode(): _decode(raw) for name, raw in found.items()},
                last_entry=await read_last_entry(pipe, self._audit),
                epoch=int(await pipe.get(self._epoch) or 0),
            )
            write = plan(state)
            pipe.multi()  # type: ignore[no-untyped-call]
            if write.key is None:
                pipe.hdel(self._keys, write.name)
            else:
                pipe.hset(self._keys, write.name, msgspec.json.encode(write.key))
            queue_entry(pipe, self._audit, write.entry)
            pipe.set(self._epoch, write.epoch)
            pipe.publish(self._changes, write.epoch)

        with _reporting():
            await transact(self._redis, (self._audit,), act)


@contextmanager
def _reporting() -> Iterator[None]:
    """Say what a failure means for keys."""
    try:
        yield
    except (RedisError, OSError, msgspec.DecodeError) as error:
        raise StoreUnavailable(
            f"Redis, where the keys of the data plane are kept: {error}; those last seen go on"
        ) from error
