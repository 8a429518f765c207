"""The monitor's state in Redis or Valkey, and the streams that it comes from, changed together or not at all.

Keys, under one prefix (default `shepherd:`):

- `log`, `labels`               streams  read as the group `monitor`; acknowledged once what they tell is stored
- `monitor:counts`              stream   the same; what several counters made of the log: see `redis_counting`
- `monitor:state`               hash     part of the book -> its bytes
- `monitor:references`          hash     `<model> <version>` -> name of its profile, for counters
- `monitor:trials`              hash     model -> id of the rollout whose arms are compared, for counters
- `monitor:seen`                hash     incarnation of a router -> sequence number of its last record that was entered
- `monitor:holds`               hash     model -> why automatic rollbacks are held
- `monitor:lease`               string   who may write; expires
- `predictions:*`               hashes   answers that wait for their labels: see `redis_predictions`
- `log:poison`                  stream   what could not be read: `entry`, `bytes`; bounded
- `incidents`                   stream   transitions as JSON; bounded

State, acknowledgements and transitions are one transaction, fenced by the lease: a monitor that is killed has either
stored what it read or will read it again, and one that was only slow writes nothing after its successor has begun.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, ResponseError, WatchError

from router.adapters.redis.client import asyncio_client
from router.adapters.redis.monitor_keys import monitor_keys
from router.adapters.redis.monitor_turn import Commit, Entries, Found
from router.adapters.redis.predictions import MAX_ANSWER_BYTES, RedisPredictions
from router.adapters.redis.stream_entries import GROUP, MAX_POISON, StreamEntry, by_stream
from router.monitor.incident import encode_transition
from router.ports import StoreUnavailable

_CONSUMER: Final = "monitor"
LEASE_MS: Final = 5000
_MAX_INCIDENTS: Final = 10_000

# KEYS: log. Returns milliseconds: everything that came to the log before has been counted and acknowledged.
_COUNTED: Final = """
local function milliseconds(id) return tonumber(string.match(id, '^(%d+)')) end
local now = redis.call('TIME')
local counted = now[1] * 1000 + math.floor(now[2] / 1000)
local pending = redis.call('XPENDING', KEYS[1], 'monitor')
if pending[1] > 0 then counted = math.min(counted, milliseconds(pending[2])) end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local field = {}
  for i = 1, #group, 2 do field[group[i]] = group[i + 1] end
  if field['name'] == 'monitor' then
    local unread = redis.call('XRANGE', KEYS[1], '(' .. field['last-delivered-id'], '+', 'COUNT', 1)[1]
    if unread then counted = math.min(counted, milliseconds(unread[1])) end
  end
end
return counted
"""


class LeaseLost(Exception):
    """Another monitor has taken over; nothing was written."""


class RedisMonitorState:
    """Where the one monitor of a gateway reads and writes. Every method may raise `StoreUnavailable`."""

    def __init__(
        self,
        url: str,
        *,
        holder: str,
        label_ttl_s: float,
        counts_itself: bool = True,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        prefix: str = "shepherd:",
        timeout_s: float = 5.0,
    ) -> None:
        """Connect, lazily.

        Args:
            url: of Redis or Valkey.
            holder: names this process for ever.
            label_ttl_s: how long an answer waits for its label.
            counts_itself: reads the log; False leaves that to counters, and reads what they counted.
            max_answer_bytes: what the answers of one model that wait for labels take up at most, about.
            prefix: of all keys.
            timeout_s: of one call.
        """
        self._redis = asyncio_client(url, timeout_s=timeout_s)
        self._holder = holder.encode()
        self._counts_itself = counts_itself
        self._predictions = RedisPredictions(self._redis, prefix, label_ttl_s, max_answer_bytes)
        self._keys = monitor_keys(prefix)
        self._counted = self._redis.register_script(_COUNTED)

    async def close(self) -> None:
        """Give back the connections."""
        await self._redis.aclose()

    async def take_lease(self) -> bool:
        """Become the one who may write, unless another one is; also prolongs."""
        with _reporting():
            if await self._redis.set(self._keys.lease, self._holder, px=LEASE_MS, nx=True):
                return True
            if await self._redis.get(self._keys.lease) != self._holder:
                return False
            return bool(await self._redis.pexpire(self._keys.lease, LEASE_MS))

    async def release(self) -> None:
        """Let a successor begin at once."""
        with _reporting():
            if await self._redis.get(self._keys.lease) == self._holder:
                await self._redis.delete(self._keys.lease)

    async def load(self) -> tuple[dict[str, bytes], dict[str, int]]:
        """Read the parts of the book and the last sequence number by incarnation."""
        with _reporting():
            parts: Any = await self._redis.hgetall(self._keys.state)
            seen: Any = await self._redis.hgetall(self._keys.seen)
            await self._predictions.refresh()
        return {k.decode(): v for k, v in parts.items()}, {k.decode(): int(v) for k, v in seen.items()}

    async def unacknowledged(self) -> Entries:
        """Read what a predecessor has read but not acknowledged."""
        await self._ensure_groups()
        log = await self._pending(self._keys.log) if self._counts_itself else []
        return Entries(log, await self._pending(self._keys.counts), await self._pending(self._keys.labels))

    async def read(self, count: int, block_ms: int) -> Entries:
        """Wait for new entries, `count` of each stream at most; all are empty when none came in time."""
        streams: dict[Any, Any] = dict.fromkeys((self._keys.counts, self._keys.labels), ">")
        if self._counts_itself:
            streams[self._keys.log] = ">"
        with _reporting():
            try:
                answer = await self._redis.xreadgroup(GROUP, _CONSUMER, streams, count=count, block=block_ms)
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                await self._ensure_groups()  # Redis came back empty
                answer = None
        found = by_stream(answer)
        return Entries(found[self._keys.log], found[self._keys.counts], found[self._keys.labels])

    async def counted_until(self) -> float:
        """Return Unix seconds by the log's clock: what came to the log before has been counted and acknowledged."""
        with _reporting():
            return int(await self._counted(keys=[self._keys.log])) / 1000

    async def find(self, model: str, request_ids: Sequence[str], now: float) -> dict[str, Found]:
        """Look up answers that wait for labels, of the whole time to live."""
        with _reporting():
            return await self._predictions.find(model, request_ids, now)

    def is_kept(self, model: str, request_id: str) -> bool:
        """Tell whether an answer is among those that wait for labels, as of the last `find`."""
        return self._predictions.is_kept(model, request_id)

    def levels(self) -> dict[str, int]:
        """Return the level of each model's sample of answers that wait for labels, where not all of them do."""
        return self._predictions.levels

    async def holds(self) -> dict[str, str]:
        """Read for which models automatic rollbacks are held, and why."""
        with _reporting():
            held: Any = await self._redis.hgetall(self._keys.holds)
        return {k.decode(): v.decode() for k, v in held.items()}

    async def commit(self, commit: Commit) -> None:
        """Write a turn, all of it or nothing.

        Raises:
            LeaseLost: another monitor may write now.
        """
        with _reporting():
            if commit.kept:
                await self._predictions.make_room(commit.kept)
            answers = self._predictions.group(commit.kept)
            async with self._redis.pipeline(transaction=True) as pipe:
                await pipe.watch(self._keys.lease)
                if await pipe.get(self._keys.lease) != self._holder:
                    raise LeaseLost
                pipe.multi()  # type: ignore[no-untyped-call]
                pipe.pexpire(self._keys.lease, LEASE_MS)
                self._queue(pipe, commit)
                self._queue_answers(pipe, answers)
                try:
                    await pipe.execute()
                except WatchError:
                    raise LeaseLost from None

    def _queue(self, pipe: Pipeline, commit: Commit) -> None:
        names = {f"{model} {version}": name for (model, version), name in commit.references.items()}
        hashes = {
            self._keys.state: commit.parts,
            self._keys.references: names,
            self._keys.trials: commit.trials,
            self._keys.seen: commit.seen,
        }
        for key, fields in hashes.items():
            if fields:
                pipe.hset(key, mapping=dict(fields))  # type: ignore[arg-type] # theirs are invariant
        read = {
            self._keys.log: commit.log_ids,
            self._keys.counts: commit.count_ids,
            self._keys.labels: commit.label_ids,
        }
        for stream, ids in read.items():
            if ids:
                pipe.xack(stream, GROUP, *ids)
        if commit.count_ids:
            pipe.xdel(self._keys.counts, *commit.count_ids)
        for key, request_id in commit.labelled:
            pipe.hset(key, request_id, b"")
            pipe.expire(key, self._predictions.expire_s)  # it may have been dropped since
        for entry, data in commit.poison:
            pipe.xadd(self._keys.poison, {"entry": entry, "bytes": data}, maxlen=MAX_POISON)
        for each in commit.transitions:
            pipe.xadd(self._keys.incidents, {"transition": encode_transition(each)}, maxlen=_MAX_INCIDENTS)

    def _queue_answers(self, pipe: Pipeline, answers: Mapping[str, dict[str, bytes]]) -> None:
        for key, found in answers.items():
            pipe.hset(key, mapping=dict[Any, Any](found))
            pipe.expire(key, self._predictions.expire_s)

    async def _ensure_groups(self) -> None:
        for stream in (self._keys.log, self._keys.counts, self._keys.labels):
            with _reporting(), contextlib.suppress(ResponseError):  # BUSYGROUP: it is there
                await self._redis.xgroup_create(stream, GROUP, "0", mkstream=True)

    async def _pending(self, stream: str) -> list[StreamEntry]:
        """Take over what anybody has read and not acknowledged: only the holder of the lease gets here."""
        entries: list[StreamEntry] = []
        after: Any = "0-0"
        while True:
            with _reporting():
                page: Any = await self._redis.xautoclaim(stream, GROUP, _CONSUMER, 0, after, count=1000)
            entries += by_stream([(stream.encode(), page[1])])[stream]
            after = page[0]
            if after == b"0-0":
                return entries


@contextmanager
def _reporting() -> Iterator[None]:
    """Say what a failure means for the monitor."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"Redis, where the monitor reads and writes: {error}; it resumes when it can") from error
