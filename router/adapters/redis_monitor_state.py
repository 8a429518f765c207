"""The monitor's state in Redis or Valkey, and the streams that it comes from, changed together or not at all.

Keys, under one prefix (default `shepherd:`):

- `log`, `labels`               streams  read as the group `monitor`; acknowledged once what they tell is stored
- `monitor:state`               hash     part of the book -> its bytes
- `monitor:seen`                hash     incarnation of a router -> sequence number of its last record that was entered
- `monitor:holds`               hash     model -> why automatic rollbacks are held
- `monitor:lease`               string   who may write; expires
- `predictions:<model>:<slot>`  hash     request id -> answer that waits for its label; empty when it had one; expires
- `log:poison`                  stream   what could not be read: `entry`, `bytes`; bounded
- `incidents`                   stream   transitions as JSON; bounded

State, acknowledgements and transitions are one transaction, fenced by the lease: a monitor that is killed has either
stored what it read or will read it again, and one that was only slow writes nothing after its successor has begun.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError, WatchError

from router.monitor.book import Kept
from router.monitor.incident import Transition, encode_transition
from router.monitor.labels import Prediction, decode_prediction, encode_prediction
from router.ports import StoreUnavailable

GROUP: Final = "monitor"
_CONSUMER: Final = "monitor"
LEASE_MS: Final = 5000
#: Parts that the time to live of an answer is cut into; an answer lives up to one part longer.
_PARTS: Final = 24
_MAX_POISON: Final = 1000
_MAX_INCIDENTS: Final = 10_000


class LeaseLost(Exception):
    """Another monitor has taken over; nothing was written."""


class StreamEntry(msgspec.Struct, frozen=True):
    """One entry as it lies in a stream; without fields when it was trimmed before it was read."""

    id: str
    fields: Mapping[bytes, bytes]


class Found(msgspec.Struct, frozen=True):
    """What is known of a request id: its answer and where that lies; no answer when it had its label already."""

    key: str
    prediction: Prediction | None


class Commit(msgspec.Struct, kw_only=True):
    """What one turn of the monitor changes."""

    parts: Mapping[str, bytes] = {}
    seen: Mapping[str, int] = {}
    log_ids: Sequence[str] = ()
    label_ids: Sequence[str] = ()
    kept: Sequence[Kept] = ()
    labelled: Sequence[tuple[str, str]] = ()
    """Key and request id of answers that have their label now."""
    poison: Sequence[tuple[str, bytes]] = ()
    """Entry's id and the bytes."""
    transitions: Sequence[Transition] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not any(getattr(self, name) for name in self.__struct_fields__)


class RedisMonitorState:
    """Where the one monitor of a gateway reads and writes. Every method may raise `StoreUnavailable`."""

    def __init__(
        self,
        url: str,
        *,
        holder: str,
        label_ttl_s: float,
        max_predictions: int = 1_000_000,
        prefix: str = "shepherd:",
        timeout_s: float = 5.0,
    ) -> None:
        self._redis: Redis = Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )
        self._holder = holder.encode()
        self._part_s = label_ttl_s / _PARTS
        self._max_part = max(1, max_predictions // _PARTS)
        self._prefix = prefix
        self._log = f"{prefix}log"
        self._labels = f"{prefix}labels"
        self._state = f"{prefix}monitor:state"
        self._seen = f"{prefix}monitor:seen"
        self._holds = f"{prefix}monitor:holds"
        self._lease = f"{prefix}monitor:lease"
        self._poison = f"{prefix}log:poison"
        self._incidents = f"{prefix}incidents"

    async def close(self) -> None:
        """Give back the connections."""
        await self._redis.aclose()

    async def take_lease(self) -> bool:
        """Become the one who may write, unless another one is; also prolongs."""
        with _reporting():
            if await self._redis.set(self._lease, self._holder, px=LEASE_MS, nx=True):
                return True
            if await self._redis.get(self._lease) != self._holder:
                return False
            return bool(await self._redis.pexpire(self._lease, LEASE_MS))

    async def release(self) -> None:
        """Let a successor begin at once."""
        with _reporting():
            if await self._redis.get(self._lease) == self._holder:
                await self._redis.delete(self._lease)

    async def load(self) -> tuple[dict[str, bytes], dict[str, int]]:
        """Read the parts of the book and the last sequence number by incarnation."""
        with _reporting():
            parts: Any = await self._redis.hgetall(self._state)
            seen: Any = await self._redis.hgetall(self._seen)
        return {k.decode(): v for k, v in parts.items()}, {k.decode(): int(v) for k, v in seen.items()}

    async def unacknowledged(self) -> tuple[list[StreamEntry], list[StreamEntry]]:
        """Read what a predecessor has read but not acknowledged, of the log and of the labels."""
        await self._ensure_groups()
        return await self._pending(self._log), await self._pending(self._labels)

    async def read(self, count: int, block_ms: int) -> tuple[list[StreamEntry], list[StreamEntry]]:
        """Wait for new entries of the log and of the labels; both are empty when none came in time."""
        with _reporting():
            try:
                answer = await self._redis.xreadgroup(
                    GROUP, _CONSUMER, {self._log: ">", self._labels: ">"}, count=count, block=block_ms
                )
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                await self._ensure_groups()  # Redis came back empty
                return [], []
        found = _by_stream(answer)
        return found[self._log], found[self._labels]

    async def find(self, model: str, request_ids: Sequence[str], now: float) -> dict[str, Found]:
        """Look up answers that wait for labels, of the whole time to live."""
        keys = [self._key(model, part) for part in self._parts(now)]
        with _reporting():
            pipe: Pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipe.hmget(key, list(request_ids))
            rows = await pipe.execute()
        found: dict[str, Found] = {}
        for key, row in zip(keys, rows, strict=True):
            for request_id, data in zip(request_ids, row, strict=True):
                if data is not None:
                    found[request_id] = Found(key, decode_prediction(data) if data else None)
        return found

    async def holds(self) -> dict[str, str]:
        """Read for which models automatic rollbacks are held, and why."""
        with _reporting():
            held: Any = await self._redis.hgetall(self._holds)
        return {k.decode(): v.decode() for k, v in held.items()}

    async def commit(self, commit: Commit) -> None:
        """Write a turn, all of it or nothing.

        Raises:
            LeaseLost: another monitor may write now.
        """
        with _reporting():
            room = await self._rooms(commit.kept)
            async with self._redis.pipeline(transaction=True) as pipe:
                await pipe.watch(self._lease)
                if await pipe.get(self._lease) != self._holder:
                    raise LeaseLost
                pipe.multi()  # type: ignore[no-untyped-call]
                pipe.pexpire(self._lease, LEASE_MS)
                self._queue(pipe, commit, room)
                try:
                    await pipe.execute()
                except WatchError:
                    raise LeaseLost from None

    def _queue(self, pipe: Pipeline, commit: Commit, room: Mapping[str, int]) -> None:
        if commit.parts:
            pipe.hset(self._state, mapping=_mapping(commit.parts))
        if commit.seen:
            pipe.hset(self._seen, mapping=_mapping(commit.seen))
        if commit.log_ids:
            pipe.xack(self._log, GROUP, *commit.log_ids)
        if commit.label_ids:
            pipe.xack(self._labels, GROUP, *commit.label_ids)
        for key, answers in self._by_key(commit.kept).items():
            fitting = dict(list(answers.items())[: max(0, self._max_part - room[key])])
            if fitting:
                pipe.hset(key, mapping=_mapping(fitting))
                pipe.expire(key, int(self._part_s * (_PARTS + 2)) + 1)
        for key, request_id in commit.labelled:
            pipe.hset(key, request_id, b"")
        for entry, data in commit.poison:
            pipe.xadd(self._poison, {"entry": entry, "bytes": data}, maxlen=_MAX_POISON)
        for each in commit.transitions:
            pipe.xadd(self._incidents, {"transition": encode_transition(each)}, maxlen=_MAX_INCIDENTS)

    async def _rooms(self, kept: Iterable[Kept]) -> dict[str, int]:
        return {key: int(await self._redis.hlen(key)) for key in self._by_key(kept)}

    def _by_key(self, kept: Iterable[Kept]) -> dict[str, dict[str, bytes]]:
        found: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        for model, request_id, prediction in kept:
            key = self._key(model, int(prediction.at // self._part_s))
            found[key].setdefault(request_id, encode_prediction(prediction))
        return found

    def _parts(self, now: float) -> range:
        last = int(now // self._part_s)
        return range(last - _PARTS, last + 2)  # one ahead, for a router whose clock is

    def _key(self, model: str, part: int) -> str:
        return f"{self._prefix}predictions:{model}:{part}"

    async def _ensure_groups(self) -> None:
        for stream in (self._log, self._labels):
            with _reporting(), contextlib.suppress(ResponseError):  # BUSYGROUP: it is there
                await self._redis.xgroup_create(stream, GROUP, "0", mkstream=True)

    async def _pending(self, stream: str) -> list[StreamEntry]:
        entries: list[StreamEntry] = []
        while True:
            after = entries[-1].id if entries else "0"
            with _reporting():
                page = await self._redis.xreadgroup(GROUP, _CONSUMER, {stream: after}, count=1000)
            more = _by_stream(page)[stream]
            if not more:
                return entries
            entries += more


def _by_stream(answer: Any) -> defaultdict[str, list[StreamEntry]]:
    found: defaultdict[str, list[StreamEntry]] = defaultdict(list)
    pairs = answer.items() if isinstance(answer, dict) else answer or ()
    for stream, entries in pairs:
        found[stream.decode()] += [StreamEntry(entry.decode(), fields or {}) for entry, fields in entries]
    return found


def _mapping(fields: Mapping[str, bytes] | Mapping[str, int]) -> Any:
    """Say nothing of types: the client's own are invariant where they need not be."""
    return dict(fields)


@contextmanager
def _reporting() -> Iterator[None]:
    """Say what a failure means for the monitor."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"Redis, where the monitor reads and writes: {error}; it goes on from there") from error
