"""The log as several counters share it in Redis or Valkey: each reads a part, and stores its counts exactly once.

Keys, under one prefix (default `shepherd:`), beside those of `monitor_state`:

- `monitor:counts`               stream  `counts`: what a counter made of some entries, for the monitor to add up
- `monitor:references`           hash    `<model> <version>` -> name of the profile in whose bins is counted now
- `monitor:taken:<incarnation>`  zset    runs of records that are counted, `<first>-<last>` by their last; expires

One script stores everything that a batch leads to, or nothing: nothing when a record was counted by somebody else, or
the reference has changed since. So an entry may be read by any number of counters: one of them counts it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError, ResponseError

from router.adapters.redis.client import asyncio_client
from router.adapters.redis.monitor_keys import monitor_keys
from router.adapters.redis.predictions import MAX_ANSWER_BYTES, RedisPredictions
from router.adapters.redis.stream_entries import GROUP, MAX_POISON, StreamEntry, by_stream
from router.monitor.counting import Kept
from router.monitor.state import Version, profile_field
from router.monitor.trial import TrialState, decode_trial, trial_field
from router.ports import StoreUnavailable
from router.requestlog.sequences import Run

#: An entry that its reader has not acknowledged for this long is another counter's.
STALE_MS: Final = 5000
_TAKEN_EXPIRE_S: Final = 7 * 86_400
_MAX_RUNS: Final = 1024
#: Consumers without entries that have been silent for this long are forgotten.
_FORGET_MS: Final = 3600 * 1000

# KEYS: log, counts, poison, references, one per run, one per key of predictions.
# ARGV: lists, each after its length: references (version, name), runs (first, last), ids, counts, predictions (fields
# and values, one list a key), poison (entry, bytes); then seconds of a key of predictions, seconds of runs, most runs,
# most poison.
# Returns {} when all is stored; {'reference'} or {'taken', number of run, first, last, ...} when nothing is.
_STORE: Final = """
local at = 0
local function list()
  local found = {}
  for i = 1, tonumber(ARGV[at + 1]) do found[i] = ARGV[at + 1 + i] end
  at = at + 1 + #found
  return found
end
local references, runs, ids, counts = list(), list(), list(), list()
local answers = {}
for i = 5 + #runs / 2, #KEYS do answers[i] = list() end
local poison = list()
local expire, keep, most, most_poison = unpack(ARGV, at + 1)
for i = 1, #references, 2 do
  if redis.call('HGET', KEYS[4], references[i]) ~= references[i + 1] then return {'reference'} end
end
local function ends(run)
  local first, last = string.match(run, '^(%d+)-(%d+)$')
  return tonumber(first), tonumber(last)
end
local taken = {'taken'}
for i = 1, #runs, 2 do
  local first, last = tonumber(runs[i]), tonumber(runs[i + 1])
  for _, run in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4 + (i + 1) / 2], runs[i], '+inf')) do
    local low, high = ends(run)
    if low <= last then
      for _, value in ipairs({(i + 1) / 2 - 1, low, high}) do taken[#taken + 1] = string.format('%.0f', value) end
    end
  end
end
if #taken > 1 then return taken end
for i = 1, #runs, 2 do
  local key, first, last = KEYS[4 + (i + 1) / 2], tonumber(runs[i]), tonumber(runs[i + 1])
  for _, run in ipairs(redis.call('ZRANGEBYSCORE', key, first - 1, first - 1)) do
    redis.call('ZREM', key, run)
    first = ends(run)
  end
  local above = redis.call('ZRANGEBYSCORE', key, '(' .. runs[i + 1], '+inf', 'LIMIT', 0, 1)[1]
  if above then
    local low, high = ends(above)
    if low == last + 1 then
      redis.call('ZREM', key, above)
      last = high
    end
  end
  redis.call('ZADD', key, last, string.format('%.0f-%.0f', first, last))
  if redis.call('ZCARD', key) > tonumber(most) then -- a gap that old is not filled any more
    local low = redis.call('ZPOPMIN', key, 2)
    local first_of_all = ends(low[1])
    local _, last_of_both = ends(low[3])
    redis.call('ZADD', key, last_of_both, string.format('%.0f-%.0f', first_of_all, last_of_both))
  end
  redis.call('EXPIRE', key, keep)
end
for i = 5 + #runs / 2, #KEYS do
  for j = 1, #answers[i], 2 do redis.call('HSETNX', KEYS[i], answers[i][j], answers[i][j + 1]) end
  redis.call('EXPIRE', KEYS[i], expire)
end
for i = 1, #poison, 2 do
  redis.call('XADD', KEYS[3], 'MAXLEN', most_poison, '*', 'entry', poison[i], 'bytes', poison[i + 1])
end
if counts[1] then redis.call('XADD', KEYS[2], '*', 'counts', counts[1]) end
for _, id in ipairs(ids) do redis.call('XACK', KEYS[1], 'monitor', id) end
return {}
"""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What some entries of the log lead to."""

    ids: Sequence[str]
    counts: bytes = b""
    references: Mapping[Version, str] = {}
    """Names of the profiles that were counted in."""
    runs: Sequence[Run] = ()
    kept: Sequence[Kept] = ()
    poison: Sequence[tuple[str, bytes]] = ()


class ReferenceChanged(Exception):
    """A version is held against another profile by now; nothing was stored."""


class RecordsTaken(Exception):
    """Somebody else has counted some of the records; nothing was stored."""

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__(f"{len(runs)} runs are taken")
        self.runs = runs


class RedisCounting:
    """The ends of the log and of the counts that a counter has. Every method may raise `StoreUnavailable`."""

    def __init__(
        self,
        url: str,
        *,
        consumer: str,
        label_ttl_s: float,
        stale_ms: int = STALE_MS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        prefix: str = "shepherd:",
        timeout_s: float = 5.0,
    ) -> None:
        self._redis = asyncio_client(url, timeout_s=timeout_s)
        self._consumer = consumer
        self._stale_ms = stale_ms
        self._predictions = RedisPredictions(self._redis, prefix, label_ttl_s, max_answer_bytes)
        self._keys = monitor_keys(prefix)
        self._store = self._redis.register_script(_STORE)

    async def close(self) -> None:
        """Give back the connections."""
        await self._redis.aclose()

    async def begin(self) -> None:
        """Make sure that there is a group to read in, and forget counters that are long gone."""
        with _reporting():
            with contextlib.suppress(ResponseError):  # BUSYGROUP: it is there
                await self._redis.xgroup_create(self._keys.log, GROUP, "0", mkstream=True)
            consumers: Any = await self._redis.xinfo_consumers(self._keys.log, GROUP)
            for each in consumers:
                if each["pending"] == 0 and each["idle"] > _FORGET_MS:
                    await self._redis.xgroup_delconsumer(self._keys.log, GROUP, each["name"])

    async def read(self, count: int, block_ms: int) -> list[StreamEntry]:
        """Wait for entries that nobody has read; none when none came in time."""
        with _reporting():
            answer = await self._redis.xreadgroup(
                GROUP, self._consumer, {self._keys.log: ">"}, count=count, block=block_ms
            )
        return by_stream(answer)[self._keys.log]

    async def take_over(self, count: int) -> list[StreamEntry]:
        """Take entries whose readers have not been heard of since."""
        with _reporting():
            answer: Any = await self._redis.xautoclaim(
                self._keys.log, GROUP, self._consumer, self._stale_ms, "0-0", count=count
            )
        return by_stream([(self._keys.log.encode(), answer[1])])[self._keys.log]

    async def backlog(self) -> int:
        """Count what the monitor has not added up yet."""
        with _reporting():
            return int(await self._redis.xlen(self._keys.counts))

    async def references(self) -> dict[Version, str]:
        """Read which profile each version is held against."""
        with _reporting():
            rows: Any = await self._redis.hgetall(self._keys.references)
        found = {}
        for field, name in rows.items():
            model, _, version = field.decode().rpartition(" ")
            found[model, int(version)] = name.decode()
        return found

    async def profile(self, version: Version) -> bytes | None:
        """Read the profile that a version is held against."""
        with _reporting():
            document: Any = await self._redis.hget(self._keys.state, profile_field(*version))
        return None if document is None else bytes(document)

    async def trials(self) -> dict[str, str]:
        """Read the id of each model's last trial."""
        with _reporting():
            rows: Any = await self._redis.hgetall(self._keys.trials)
        return {model.decode(): name.decode() for model, name in rows.items()}

    async def trial(self, model: str) -> TrialState | None:
        """Read a model's last trial."""
        with _reporting():
            data: Any = await self._redis.hget(self._keys.state, trial_field(model))
        return None if data is None else decode_trial(data)

    async def store(self, batch: Batch) -> None:
        """Store everything that entries lead to, and acknowledge them.

        Raises:
            ReferenceChanged, RecordsTaken: nothing was stored; count again.
        """
        with _reporting():
            await self._predictions.make_room(batch.kept)
        answers = self._predictions.group(batch.kept)
        lists: list[Sequence[str | bytes | int]] = [
            [part for (model, number), name in batch.references.items() for part in (f"{model} {number}", name)],
            [part for run in batch.runs for part in (run.first, run.last)],
            batch.ids,
            [batch.counts] if batch.counts else [],
            *[[part for pair in fields.items() for part in pair] for fields in answers.values()],
            [part for pair in batch.poison for part in pair],
        ]
        limits = [self._predictions.expire_s, _TAKEN_EXPIRE_S, _MAX_RUNS, MAX_POISON]
        keys = [self._keys.log, self._keys.counts, self._keys.poison, self._keys.references]
        keys += [self._keys.taken + run.incarnation for run in batch.runs]
        with _reporting():
            answer: Any = await self._store(
                keys=[*keys, *answers], args=[*[part for each in lists for part in (len(each), *each)], *limits]
            )
        if answer[:1] == [b"reference"]:
            raise ReferenceChanged
        if answer:
            numbers = [int(each) for each in answer[1:]]
            raise RecordsTaken(
                [
                    Run(batch.runs[number].incarnation, first, last)
                    for number, first, last in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
                ]
            )


@contextmanager
def _reporting() -> Iterator[None]:
    """Say what a failure means for counting."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"Redis, where the log is counted: {error}; counting resumes when it answers") from error
