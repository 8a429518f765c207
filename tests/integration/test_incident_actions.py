"""Acts on incidents: each at least once, an incident's in their order, and nothing again after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from router.adapters.redis.incidents import RedisIncidents
from router.monitor.incident import Incident, Transition, encode_transition
from router.performance.escalation import Act
from router.ports import StoreUnavailable
from router.watch.incident_actions import IncidentActions
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

GROUP = "delivery:one"
LIFE = (Act.OPEN, Act.ESCALATE, Act.RETRAIN, Act.RESOLVE)


class Stream:
    """The stream of transitions, as the monitor writes it."""

    def __init__(self, url: str, prefix: str) -> None:
        self._redis: Redis = Redis.from_url(url)
        self._key = f"{prefix}incidents"
        self.incidents = RedisIncidents(url, prefix=prefix)

    async def happen(self, name: str, *acts: Act) -> None:
        """Let transitions of an incident happen."""
        for act in acts:
            incident = Incident(id=name, model="m", version=1, severity="critical", opened_at=1.0)
            told = Transition(act=act, at=1.0, incident=incident)
            await self._redis.xadd(self._key, {"transition": encode_transition(told)})

    async def waiting(self, group: str = GROUP) -> int:
        """Count what was begun and is not done."""
        return int((await self._redis.xpending(self._key, group))["pending"])

    async def all_acknowledged(self) -> bool:
        return not await self.waiting()

    async def groups(self) -> set[str]:
        return {each["name"].decode() for each in await self._redis.xinfo_groups(self._key)}

    async def close(self) -> None:
        await self._redis.aclose()
        await self.incidents.close()


@pytest_asyncio.fixture
async def stream(valkey_socket: Path) -> AsyncIterator[Stream]:
    made = Stream(f"unix://{valkey_socket}", f"test-{uuid4()}:")
    yield made
    await made.close()


@asynccontextmanager
async def acting(stream: Stream, act: Callable[[Transition], object]) -> AsyncIterator[None]:
    """Act until the block ends."""

    async def do(transition: Transition) -> None:
        outcome = act(transition)
        if asyncio.iscoroutine(outcome):
            await outcome

    task = asyncio.create_task(IncidentActions(stream.incidents, GROUP, do).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_incidents_acts_follow_each_other_and_hold_up_no_other_incident(stream: Stream) -> None:
    """However long the first takes."""
    first, acts = asyncio.Event(), []

    async def act(transition: Transition) -> None:
        if transition.id == "slow/open-critical":
            await first.wait()
        acts.append(transition.id)

    await stream.happen("slow", *LIFE)
    await stream.happen("other", *LIFE)
    async with acting(stream, act):
        await until(lambda: len(acts) == 4)
        before = list(acts)
        first.set()
        await until(lambda: len(acts) == 8)

    assert before == [f"other/{each}-critical" for each in LIFE]
    assert acts[4:] == [f"slow/{each}-critical" for each in LIFE]


async def test_what_was_done_is_not_done_again_by_a_successor(stream: Stream) -> None:
    """Only what was under way at the death is repeated, and what comes after it follows it."""
    lives: list[list[str]] = [[], []]
    stuck = asyncio.Event()

    async def act(transition: Transition) -> None:
        lives[0].append(transition.act)
        if transition.act is Act.ESCALATE:
            stuck.set()
            await asyncio.Event().wait()

    await stream.happen("a", *LIFE)
    async with acting(stream, act):
        await stuck.wait()
    async with acting(stream, lambda told: lives[1].append(told.act)):
        await until(lambda: len(lives[1]) == 3)
        await until(stream.all_acknowledged)
        await stream.happen("a", Act.WITHHOLD)
        await until(lambda: len(lives[1]) == 4)

    assert lives == [["open", "escalate"], ["escalate", "retrain", "resolve", "withhold"]]


async def test_more_than_a_page_of_what_was_begun_is_taken_up(stream: Stream) -> None:
    """And no more than a bound is under way at once."""
    under_way, most, acts = 0, 0, []

    async def act(transition: Transition) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        acts.append(transition.incident.id)

    await stream.happen("begun", Act.OPEN)
    for number in range(200):
        await stream.happen(f"i{number}", Act.OPEN)
    await stream.incidents.begin(GROUP)
    while await stream.incidents.wait(GROUP, 1):
        pass  # read by a predecessor that died at once
    async with acting(stream, act):
        await until(lambda: len(acts) == 201)

    assert most <= 64
    assert len(set(acts)) == 201


async def test_an_acknowledgement_that_failed_repeats_no_act(stream: Stream) -> None:
    """Redis may be away for as long as it takes."""
    acts: list[str] = []
    real, failures = stream.incidents.done, [StoreUnavailable("away")]

    async def fail_once(group: str, entry: str) -> None:
        if failures:
            raise failures.pop()
        await real(group, entry)

    stream.incidents.done = fail_once  # type: ignore[method-assign]
    await stream.happen("a", Act.OPEN)
    async with acting(stream, lambda told: acts.append(told.act)):
        await until(lambda: acts)
        await until(stream.all_acknowledged)

    assert acts == ["open"]


async def test_a_new_receiver_is_told_from_then_on_and_one_that_is_gone_is_forgotten(stream: Stream) -> None:
    """Nobody is told of last year's incidents, also not one who was taken out and comes back."""
    await stream.happen("old", *LIFE)
    await stream.incidents.begin("rollback")
    await stream.incidents.begin("delivery:gone")
    acts: list[str] = []

    await stream.incidents.retire("delivery:", [GROUP])
    await stream.incidents.begin(GROUP, forget_past=True)
    await stream.happen("new", Act.OPEN)
    async with acting(stream, lambda told: acts.append(told.incident.id)):
        await until(lambda: acts)

    assert acts == ["new"]
    assert await stream.groups() == {"rollback", GROUP}
