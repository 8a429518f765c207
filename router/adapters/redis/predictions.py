"""Answers that wait for their labels in Redis or Valkey: where they lie, how long, and which when they are too many.

Keys, under one prefix:

- `predictions:<model>:<part>:<rank>`  hash  request id -> the answer, empty when it had its label already; expires
- `monitor:sampling`                   hash  model -> level of its sample, see `router.monitor.sampling`; absent: 0

Time is cut into parts, so that a key expires as a whole. What the answers of one model take up, in all parts together,
is bounded in bytes, since an answer may have one row or ten thousand. A model that is over it goes one level up: the
keys of the lowest rank are dropped, in all parts, and no more answers of that rank are stored. So the answers left are
at every moment a sample by request id of all that still could be labelled, and not those that happened to come first.

At one level every number of writers keeps the same answers. When the level moves does depend on them: each writer looks
once in `_LOOK_EVERY` answers of its own, at what Redis says is taken up. So the bound may be exceeded by what all of
them store between two looks, and the level may move a little earlier or later.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from router.adapters.redis.monitor_turn import Found
from router.monitor.counting import Kept
from router.monitor.labels import decode_prediction, encode_prediction
from router.monitor.sampling import MAX_RANK, rank_of

#: Parts that the time to live of an answer is cut into; an answer lives up to one part longer.
_PARTS: Final = 24
#: What the waiting answers of one model take up at most, about: a million answers of one row at 105 bytes each.
MAX_ANSWER_BYTES: Final = 128 << 20
#: Answers after which a writer looks again at what they take up.
_LOOK_EVERY: Final = 2000

# KEYS: sampling, then the keys of answers, rank by rank. ARGV: model, most bytes, keys of a rank, highest rank.
# Moves the model's level to where its answers fit, and drops what is below it: whatever a writer stored there that knew
# of no higher level yet counts for nothing. Returns the level. The bounds for going up and down are a factor of four
# apart, so that neither step calls for the other.
_FIT: Final = """
local model, most, width, highest = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local level = tonumber(redis.call('HGET', KEYS[1], model) or 0)
local sizes, total = {}, 0
for i = 2 + level * width, #KEYS do
  local rank = math.floor((i - 2) / width)
  local size = redis.call('MEMORY', 'USAGE', KEYS[i], 'SAMPLES', 16) or 0
  sizes[rank] = (sizes[rank] or 0) + size
  total = total + size
end
local before = level
while total > most and level < highest do
  total = total - sizes[level]
  level = level + 1
end
for i = 2, 1 + level * width do redis.call('UNLINK', KEYS[i]) end
if level == before and level > 0 and total < most / 4 then level = level - 1 end
if level ~= before then redis.call('HSET', KEYS[1], model, level) end
return level
"""


class RedisPredictions:
    """The answers that wait, as one of their writers or readers sees them; errors of Redis are passed on."""

    def __init__(self, redis: Redis, prefix: str, label_ttl_s: float, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        """Name the keys.

        Args:
            redis: where they are.
            prefix: of all keys.
            label_ttl_s: how long an answer waits for its label.
            max_answer_bytes: what the answers of one model take up at most, about.
        """
        self._redis = redis
        self._prefix = prefix
        self._part_s = label_ttl_s / _PARTS
        self._max_bytes = max_answer_bytes
        self._sampling = f"{prefix}monitor:sampling"
        self._fit = redis.register_script(_FIT)
        self._offered: Counter[str] = Counter()
        """By model: answers that came since it was last looked at."""
        self.expire_s = int(self._part_s * (_PARTS + 2)) + 1
        self.levels: dict[str, int] = {}
        """By model, where not 0, as last read."""

    async def refresh(self) -> None:
        """Read which share of each model's answers is kept now."""
        levels: Any = await self._redis.hgetall(self._sampling)
        self.levels = {model.decode(): int(level) for model, level in levels.items() if int(level)}

    def is_kept(self, model: str, request_id: str) -> bool:
        """Tell whether an answer is among those that are kept."""
        return rank_of(request_id) >= self.levels.get(model, 0)

    def group(self, offered: Iterable[Kept]) -> dict[str, dict[str, bytes]]:
        """Return what to store under which key; of two answers to one request the first."""
        found: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        for model, request_id, prediction in offered:
            rank = rank_of(request_id)
            if rank < self.levels.get(model, 0):
                continue
            key = self._key(model, int(prediction.at // self._part_s), rank)
            if request_id not in found[key]:
                found[key][request_id] = encode_prediction(prediction)
        return found

    async def make_room(self, offered: Sequence[Kept]) -> None:
        """See to it that there is room for answers, before they are grouped and stored."""
        await self.refresh()
        counts = self._offered + Counter(each.model for each in offered)
        for model in [model for model, count in counts.items() if count >= _LOOK_EVERY]:
            now = max(each.prediction.at for each in offered if each.model == model)
            keys = [key for rank in range(MAX_RANK + 1) for key in self._around(model, now, rank)]
            width = len(keys) // (MAX_RANK + 1)
            level: Any = await self._fit(keys=[self._sampling, *keys], args=[model, self._max_bytes, width, MAX_RANK])
            self.levels[model] = int(level)
            del counts[model]
        self._offered = counts

    async def find(self, model: str, request_ids: Sequence[str], now: float) -> dict[str, Found]:
        """Look up answers, of the whole time to live."""
        await self.refresh()
        by_rank: defaultdict[int, list[str]] = defaultdict(list)
        for request_id in request_ids:
            by_rank[rank_of(request_id)].append(request_id)
        asked = [
            (key, names)
            for rank, names in by_rank.items()
            if rank >= self.levels.get(model, 0)
            for key in self._around(model, now, rank)
        ]
        pipe: Pipeline = self._redis.pipeline(transaction=False)
        for key, names in asked:
            pipe.hmget(key, names)
        rows = await pipe.execute()
        found: dict[str, Found] = {}
        for (key, names), row in zip(asked, rows, strict=True):
            for request_id, data in zip(names, row, strict=True):
                if data is not None:
                    found[request_id] = Found(key, decode_prediction(data) if data else None)
        return found

    def _around(self, model: str, now: float, rank: int) -> list[str]:
        """List the keys of a rank in which answers may lie now."""
        last = int(now // self._part_s)
        parts = range(last - _PARTS, last + 2)  # one ahead, for a clock that is
        return [self._key(model, part, rank) for part in parts]

    def _key(self, model: str, part: int, rank: int) -> str:
        return f"{self._prefix}predictions:{model}:{part}:{rank}"
