"""Answers that wait for labels, over a real Valkey: all of them while they fit, a fair sample when they do not."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from router.adapters.redis.counting import Batch, RedisCounting
from router.adapters.redis.monitor_state import RedisMonitorState
from router.adapters.redis.monitor_turn import Commit
from router.monitor.counting import Kept
from router.monitor.labels import Prediction
from router.monitor.sampling import rank_of
from router.ports import StoreUnavailable

pytestmark = pytest.mark.asyncio

MODEL = "flights"
TTL_S = 240_000.0
PART_S = TTL_S / 24
BYTES = 1 << 19
START = 1_700_000_000.0


class Waiting:
    """Answers that a monitor, or a counter beside it, stores and that the monitor looks up."""

    def __init__(self, url: str, *, counts_itself: bool) -> None:
        prefix = f"test-{uuid.uuid4().hex}:"
        self.prefix = prefix
        self.redis: Redis = Redis.from_url(url)
        self.state = RedisMonitorState(
            url,
            holder=prefix,
            label_ttl_s=TTL_S,
            counts_itself=counts_itself,
            max_answer_bytes=BYTES,
            prefix=prefix,
        )
        self.counting = RedisCounting(url, consumer="one", label_ttl_s=TTL_S, max_answer_bytes=BYTES, prefix=prefix)
        self._counts_itself = counts_itself

    async def keep(self, answers: Sequence[Kept]) -> None:
        for start in range(0, len(answers), 500):
            kept = answers[start : start + 500]
            if self._counts_itself:
                assert await self.state.take_lease()
                await self.state.commit(Commit(kept=kept))
            else:
                await self.counting.store(Batch(ids=[], kept=kept))

    async def found(self, answers: Sequence[Kept]) -> set[str]:
        """Return the ids of those that could be labelled now."""
        return set(await self.state.find(MODEL, [each.request_id for each in answers], answers[-1].prediction.at))

    async def bytes(self) -> int:
        keys = [key async for key in self.redis.scan_iter(f"{self.prefix}predictions:*")]
        return sum([int(await self.redis.memory_usage(key) or 0) for key in keys])

    async def close(self) -> None:
        await asyncio.gather(self.state.close(), self.counting.close())
        await self.redis.aclose()


@pytest_asyncio.fixture(params=[True, False], ids=["monitor", "counter"])
async def waiting(request: pytest.FixtureRequest, valkey_socket: Path) -> AsyncIterator[Waiting]:
    made = Waiting(f"unix://{valkey_socket}", counts_itself=request.param)
    yield made
    await made.close()


def answers(count: int, *, over_s: float, rows: int = 1, since: float = START, model: str = MODEL) -> list[Kept]:
    """Make answers at even distances."""
    return [
        Kept(model, f"r{since}-{i}", Prediction(1, "stable", since + over_s * i / count, (0.5,) * rows))
        for i in range(count)
    ]


async def test_a_busy_hour_is_kept_whole_while_there_is_room(waiting: Waiting) -> None:
    """The bound is of the whole time to live, not of its twenty-fourth."""
    some = answers(3000, over_s=PART_S / 2)
    await waiting.keep(some)

    assert len(await waiting.found(some)) == 3000
    assert waiting.state.levels() == {}


async def test_of_more_answers_than_fit_those_that_can_be_labelled_are_drawn_by_id(waiting: Waiting) -> None:
    """As many of the first hours as of the last ones, and a bounded number of bytes."""
    some = answers(24_000, over_s=TTL_S * 0.9)
    await waiting.keep(some)
    found = await waiting.found(some)
    level = waiting.state.levels()[MODEL]

    assert level >= 2
    assert found == {each.request_id for each in some if rank_of(each.request_id) >= level}
    quarters = [sum(each.request_id in found for each in some[at : at + 6000]) for at in range(0, 24_000, 6000)]
    share = 6000 * 2.0**-level
    assert all(abs(count - share) < 5 * share**0.5 for count in quarters), quarters
    assert BYTES / 4 < await waiting.bytes() < BYTES * 1.2
    lost = next(each.request_id for each in some if each.request_id not in found)
    assert not waiting.state.is_kept(MODEL, lost)


async def test_what_counts_is_bytes_and_not_answers(waiting: Waiting) -> None:
    """Answers of a hundred rows each fill the room with fewer of them."""
    some = answers(4000, over_s=PART_S, rows=100)
    await waiting.keep(some)

    assert await waiting.bytes() < BYTES * 1.2
    assert 0 < len(await waiting.found(some)) < 1000


async def test_the_sample_grows_again_when_there_is_room(waiting: Waiting) -> None:
    """The busy hours have expired; level by level, all answers are kept again."""
    await waiting.keep(answers(24_000, over_s=TTL_S * 0.9))
    later = START + 10 * TTL_S
    for number in range(8):
        await waiting.keep(answers(2000, over_s=1.0, since=later + number * 2 * TTL_S))

    some = answers(500, over_s=1.0, since=later + 20 * TTL_S)
    await waiting.keep(some)
    assert len(await waiting.found(some)) == 500
    assert waiting.state.levels() == {}


async def test_nothing_is_stored_while_no_room_can_be_made(valkey_socket: Path) -> None:
    """So what is in memory is never ahead of what is stored, and answers stay within the bound."""
    waiting = Waiting(f"unix://{valkey_socket}", counts_itself=True)
    assert await waiting.state.take_lease()
    sampling = f"{waiting.prefix}monitor:sampling"
    await waiting.redis.set(sampling, "no hash")
    kept = [each for model in ("cars", "flights") for each in answers(3000, over_s=1.0, model=model)]
    with pytest.raises(StoreUnavailable):
        await waiting.state.commit(Commit(parts={"labels flights": b"a part"}, kept=kept))
    await waiting.redis.delete(sampling)

    assert await waiting.state.load() == ({}, {})
    assert await waiting.bytes() == 0
    await waiting.state.commit(Commit(parts={"labels flights": b"a part"}))
    assert await waiting.state.load() == ({"labels flights": b"a part"}, {})
    await waiting.close()


async def test_what_a_slow_writer_stored_below_the_level_is_dropped_and_moves_no_level(waiting: Waiting) -> None:
    """It read the level before another one raised it: the sample is of the same ids, however many write."""
    some = answers(4000, over_s=PART_S / 2, rows=40)
    await waiting.redis.hset(f"{waiting.prefix}monitor:sampling", MODEL, "2")
    key = f"{waiting.prefix}predictions:{MODEL}:{int(START // PART_S)}:0"
    late = {each.request_id: b"x" * 300 for each in some if rank_of(each.request_id) == 0}
    await waiting.redis.hset(key, mapping=dict[Any, Any](late))
    assert await waiting.bytes() > BYTES
    await waiting.keep(some)

    assert await waiting.redis.exists(key) == 0
    assert await waiting.found(some) == {each.request_id for each in some if rank_of(each.request_id) >= 2}
    assert waiting.state.levels() == {MODEL: 2}
