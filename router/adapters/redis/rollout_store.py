"""Rollouts and kept answers in Redis or Valkey, beside the policies.

Keys, all under one prefix (default `shepherd:`):

- `rollouts`                 hash   model -> its last rollout as JSON
- `rollout_history:<model>`  list   those before it, oldest first
- `answer:<key>`             string answer of a write with an idempotency key, as MessagePack; expires
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from router.adapters.redis.audit import queue_entry, read_last_entry, transact
from router.adapters.redis.client import asyncio_client
from router.adapters.rollout_write import KEPT_ROLLOUTS, entry_of, plan_rollout
from router.ports import StoreUnavailable
from router.rollout.rollout import Rollout
from router.rollout_ports import KeptAnswer, Note

#: How long an answer can be had again.
KEPT_S: Final = 86_400
#: How long a key is taken by a request that never comes to an answer, because its process died.
CLAIMED_S: Final = 300

_decode = msgspec.json.Decoder(Rollout).decode
_decode_answer = msgspec.msgpack.Decoder(KeptAnswer).decode


@contextmanager
def _reporting(what: str) -> Iterator[None]:
    """Turn what Redis and the network raise into `StoreUnavailable`."""
    try:
        yield
    except (RedisError, OSError, msgspec.DecodeError) as error:
        raise StoreUnavailable(f"{what}: {error}; traffic goes on as it is") from error


class RedisRolloutStore:
    """A `RolloutStore` shared by every process that is given the same URL."""

    def __init__(self, url: str, *, prefix: str = "shepherd:", timeout_s: float = 5.0) -> None:
        self._redis = asyncio_client(url, timeout_s=timeout_s)
        self._rollouts = f"{prefix}rollouts"
        self._history = f"{prefix}rollout_history:"
        self._audit = f"{prefix}audit"

    async def close(self) -> None:
        """Give back the connections."""
        await self._redis.aclose()

    async def all(self) -> Mapping[str, Rollout]:
        """Read the last rollout of each model."""
        with _reporting("rollouts"):
            found: Any = await self._redis.hgetall(self._rollouts)
            return {model.decode(): _decode(raw) for model, raw in found.items()}

    async def get(self, model: str) -> Rollout | None:
        """Read the last rollout of a model."""
        with _reporting("rollouts"):
            raw = await self._redis.hget(self._rollouts, model)
            return None if raw is None else _decode(raw)

    async def put(self, rollout: Rollout, *, note: Note | None = None, at: float = 0.0) -> Rollout:
        """Store a rollout whose `revision` is the one that stands, and its note with it; else `RolloutConflict`."""

        async def act(pipe: Pipeline) -> Rollout:
            raw = await pipe.hget(self._rollouts, rollout.model)
            current = None if raw is None else _decode(raw)
            write = plan_rollout(current, rollout)
            last = await read_last_entry(pipe, self._audit) if note else None
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.hset(self._rollouts, rollout.model, msgspec.json.encode(write.rollout))
            if write.retired is not None:
                pipe.rpush(self._history + rollout.model, msgspec.json.encode(write.retired))
                pipe.ltrim(self._history + rollout.model, -KEPT_ROLLOUTS, -1)
            if note is not None:
                queue_entry(pipe, self._audit, entry_of(last, current, write.rollout, note, at))
            return write.rollout

        with _reporting("rollouts"):
            return await transact(self._redis, (self._rollouts, self._audit), act)

    async def history(self, model: str) -> Sequence[Rollout]:
        """Read the rollouts before the last one, oldest first."""
        with _reporting("rollouts"):
            return tuple(_decode(raw) for raw in await self._redis.lrange(self._history + model, 0, -1))


class RedisAnswerStore:
    """An `AnswerStore` shared by every process that is given the same URL."""

    def __init__(self, url: str, *, prefix: str = "shepherd:", timeout_s: float = 5.0) -> None:
        self._redis = asyncio_client(url, timeout_s=timeout_s)
        self._prefix = f"{prefix}answer:"

    async def close(self) -> None:
        """Give back the connections."""
        await self._redis.aclose()

    async def claim(self, key: str, fingerprint: str) -> KeptAnswer | None:
        """Take a key for a request; None when it was free, else what it was taken for."""
        claim = msgspec.msgpack.encode(KeptAnswer(fingerprint))
        with _reporting("idempotency keys"):
            known: Any = await self._redis.set(self._prefix + key, claim, nx=True, get=True, ex=CLAIMED_S)
            return None if known is None else _decode_answer(known)

    async def keep(self, key: str, answer: KeptAnswer) -> None:
        """Keep the answer for a day."""
        with _reporting("idempotency keys"):
            await self._redis.set(self._prefix + key, msgspec.msgpack.encode(answer), ex=KEPT_S)

    async def release(self, key: str) -> None:
        """Give a key back."""
        with _reporting("idempotency keys"):
            await self._redis.delete(self._prefix + key)
