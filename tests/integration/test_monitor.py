"""The monitor over a real Valkey: killed and restarted anywhere, it misses nothing and counts nothing twice."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.memory.rollout_store import MemoryRolloutStore
from router.adapters.redis.incidents import RedisIncidents
from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.monitor_state import LeaseLost, RedisMonitorState
from router.adapters.redis.monitor_turn import Commit
from router.adapters.redis.request_log import RedisRequestLog
from router.adapters.redis.watch import RedisWatch
from router.analysis.counts import NOTHING
from router.analysis.verdict import Verdict
from router.control.trial_judge import TrialJudge
from router.drift.profile import encode_profile
from router.monitor.sampling import rank_of
from router.monitor.state import Arm, ArmState
from router.performance.baseline import Metric
from router.performance.escalation import Act
from router.policy.document import parse_policy
from router.policy.plan import LabelMetric, Plan, Prediction
from router.ports import StoredPolicy, StoreUnavailable, VersionStatus
from router.requestlog.label import Label
from router.requestlog.record import Record, encode_record
from router.rollout.phase import Phase
from router.rollout.rollout import Rollout, begin
from router.watch.monitor import Monitor
from router.watch.rollback import Rollback
from router.watch.trial_finder import TrialFinder
from tests.rollouts import at
from tests.watched import MODEL, SETTINGS, START, Log, ids, profile, rows, truth

pytestmark = pytest.mark.asyncio

DOCUMENT = encode_profile(profile())
ARM = Arm(MODEL, 1, "stable")


class Board:
    """Says that versions 1 and 2 are ready."""

    async def read(self) -> Sequence[VersionStatus]:
        return [VersionStatus(MODEL, number, "ready") for number in (1, 2)]


class Policies(MemoryPolicyStore):
    """Policies that can be out of reach."""

    away = False

    async def get(self, model: str) -> StoredPolicy | None:
        if self.away:
            raise StoreUnavailable("out of reach")
        return await super().get(model)


class World:
    """A log, labels, policies, and monitors that come and go."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"test-{uuid.uuid4().hex}:"
        self.redis: Redis = Redis.from_url(url)
        self.log = RedisRequestLog(url, prefix=self.prefix)
        self.labels = RedisLabels(url, prefix=self.prefix)
        self.incidents = RedisIncidents(url, prefix=self.prefix)
        self.watch = RedisWatch(url, prefix=self.prefix)
        self.policies = Policies()
        self.rollouts = MemoryRolloutStore(self.policies)
        self.rollback = Rollback(self.policies, self.rollouts, Board())
        self.clock = 0.0
        self._shipped = 0
        self._states: list[RedisMonitorState] = []

    def state(self) -> RedisMonitorState:
        """Open the state as a monitor of its own."""
        made = RedisMonitorState(self.url, holder=uuid.uuid4().hex, label_ttl_s=86_400.0, prefix=self.prefix)
        self._states.append(made)
        return made

    def monitor(self, state: RedisMonitorState | None = None, patience_s: float = 30.0) -> Monitor:
        return Monitor(
            state or self.state(),
            self.rollback,
            SETTINGS,
            trials=TrialFinder(self.rollouts, lambda: self.clock),
            attached=lambda _model, _version: DOCUMENT,
            clock=lambda: self.clock,
            label_patience_s=patience_s,
        )

    async def ship(self, records: Sequence[Record]) -> None:
        """Put records into the log as of when the last of them was made."""
        data = b"".join(map(encode_record, records))
        self.clock = max(self.clock, records[-1].at)
        self._shipped += 1
        await self.redis.xadd(
            f"{self.prefix}log",
            {"incarnation": "router-1", "offset": self._shipped, "records": data},
            id=f"{int(self.clock * 1000)}-{self._shipped}",
        )

    async def post(self, request_ids: Sequence[str], values: Sequence[float]) -> None:
        labels = [Label(each, value, None) for each, value in zip(request_ids, values, strict=True)]
        await self.labels.add(MODEL, labels, at=self.clock)

    async def arm(self) -> ArmState:
        return (await self.watch.book()).arms.get(ARM, ArmState())

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in (self.log, self.labels, self.incidents, self.watch)))
        await asyncio.gather(*(each.close() for each in self._states))
        await self.redis.aclose()


@pytest_asyncio.fixture
async def world(valkey_socket: Path) -> AsyncIterator[World]:
    made = World(f"unix://{valkey_socket}")
    yield made
    await made.close()


async def eventually(look: Callable[[], Any]) -> Any:
    """Wait until it is true."""
    async with asyncio.timeout(20):
        while not (found := await look()):
            await asyncio.sleep(0.02)
    return found


async def kill(running: asyncio.Task[None], world: World) -> None:
    """End a monitor wherever it is; its lease runs out later, or is waited for."""
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await world.redis.delete(f"{world.prefix}monitor:lease")


async def test_a_monitor_that_is_killed_again_and_again_counts_each_answer_once(world: World) -> None:
    """Ten runs, each cut off somewhere between reading and storing: as if there had been one."""
    x = rows(2, 1000, shift=0.6)
    records = Log().records(x)
    for start in range(0, 1000, 100):
        await world.ship(records[start : start + 100])
        await world.post(ids(records[start : start + 100]), truth(x[start : start + 100]).tolist())
        running = asyncio.create_task(world.monitor().run())
        await asyncio.sleep(0.003 * (start // 100))
        await kill(running, world)
    world.clock += 10.0
    running = asyncio.create_task(world.monitor().run())

    async def is_done() -> bool:
        arm = await world.arm()
        return arm.answers == arm.labelled == 1000 and arm.windows == 5

    await eventually(is_done)
    await kill(running, world)
    pending: Any = await world.redis.xpending(f"{world.prefix}log", "monitor")
    assert pending["pending"] == 0


async def test_who_lost_the_lease_writes_nothing(world: World) -> None:
    """A monitor that was only slow, and has a successor by now."""
    slow, successor = world.state(), world.state()
    assert await slow.take_lease()
    assert not await successor.take_lease()
    await world.redis.delete(f"{world.prefix}monitor:lease")
    assert await successor.take_lease()
    with pytest.raises(LeaseLost):
        await slow.commit(Commit(parts={"labels x": b"late"}))
    assert await successor.load() == ({}, {})


async def test_what_cannot_be_read_is_kept_aside(world: World) -> None:
    """A broken frame between good ones: the good ones count."""
    records = Log().records(rows(3, 3))
    frames = [encode_record(each) for each in records]
    broken = frames[1][:-1] + bytes([frames[1][-1] ^ 0xFF])
    data = frames[0] + broken + frames[2]
    await world.log.append("router-1", 0, data, known=0)
    running = asyncio.create_task(world.monitor().run())

    async def is_counted() -> bool:
        return (await world.arm()).answers == 2

    await eventually(is_counted)
    found: Any = await world.redis.xrange(f"{world.prefix}log:poison")
    ((_, aside),) = found
    assert aside[b"bytes"] == broken
    await kill(running, world)


async def test_records_that_are_in_the_log_twice_count_once(world: World) -> None:
    """Known by their ids."""
    records = Log().records(rows(4, 10))
    await world.ship(records)
    await world.ship(records)
    running = asyncio.create_task(world.monitor().run())

    async def is_read() -> bool:
        arm = await world.arm()
        info: Any = await world.redis.xinfo_groups(f"{world.prefix}log")
        return arm.answers == 10 and info[0]["lag"] == 0

    await eventually(is_read)
    assert (await world.arm()).answers == 10
    await kill(running, world)


async def test_labels_meet_their_answers_whichever_comes_first(world: World) -> None:
    """Early ones wait; repeated, unknown and nonsensical ones are counted."""
    x = rows(5, 4)
    records = Log().records(x)
    await world.post(["r1", "r2", "r1", "nobody"], [1.0, 0.0, 1.0, 1.0])
    await world.labels.add(MODEL, [Label("r3", "late", None)], at=0.0)
    running = asyncio.create_task(world.monitor(patience_s=1.0).run())
    await asyncio.sleep(0)
    await world.ship(records)

    async def is_joined() -> bool:
        world.clock += 0.5
        counts = (await world.watch.book()).labels.get(MODEL)
        return counts is not None and (counts.joined, counts.duplicate, counts.unknown, counts.invalid) == (2, 1, 1, 1)

    await eventually(is_joined)
    await kill(running, world)


async def test_a_label_of_an_answer_that_has_expired_is_unknown(world: World) -> None:
    """Two days after the answer, where answers wait for one."""
    await world.ship(Log().records(rows(7, 2)))
    running = asyncio.create_task(world.monitor(patience_s=0.0).run())

    async def is_counted() -> bool:
        return (await world.arm()).answers == 2

    await eventually(is_counted)
    world.clock += 2 * 86_400.0
    await world.post(["r1"], [1.0])

    async def is_given_up() -> bool:
        world.clock += 1.0
        counts = (await world.watch.book()).labels.get(MODEL)
        return counts is not None and (counts.joined, counts.unknown) == (0, 1)

    await eventually(is_given_up)
    await kill(running, world)


async def test_a_label_of_an_answer_that_was_not_drawn_is_counted_as_such_at_once(world: World) -> None:
    """Where a model's answers are too many, a sample of them waits for labels; the label says nothing wrong."""
    await world.redis.hset(f"{world.prefix}monitor:sampling", MODEL, "2")
    records = Log().records(rows(8, 200))
    drawn = sum(rank_of(each) >= 2 for each in ids(records))
    await world.ship(records)
    await world.post(ids(records), [1.0] * 200)
    running = asyncio.create_task(world.monitor().run())

    async def is_done() -> bool:
        counts = (await world.watch.book()).labels.get(MODEL)
        return counts is not None and (counts.joined, counts.unsampled, counts.unknown) == (drawn, 200 - drawn, 0)

    await eventually(is_done)
    assert 30 < drawn < 70
    await kill(running, world)


async def test_an_emergency_takes_the_traffic_back_once(world: World) -> None:
    """The worst of labels on a version: one transition, one policy write by the monitor, to the version before.

    The version gets no requests any more, which resolves its incident; what it was about stays on record.
    """
    for revision, version in ((0, 2), (1, 1)):
        variants = [{"name": "stable", "version": version, "weight": 10_000}]
        policy = parse_policy({"model": MODEL, "variants": variants})
        await world.policies.put(policy, expected_revision=revision, actor="ada", reason="a test", at=0.0)
    x = rows(6, 600)
    records = Log().records(x)
    await world.ship(records)
    await world.post(ids(records), truth(x, wrong=0.6).tolist())
    running = asyncio.create_task(world.monitor().run())
    await world.incidents.unacknowledged("test")

    async def due() -> list[Any]:
        found = await world.incidents.wait("test", 100)
        return [each for _, each in found if each.act is Act.ROLL_BACK]

    (transition,) = await eventually(due)
    assert transition.target == 2
    assert not await world.rollback.perform(transition, world.clock)
    assert await world.rollback.perform(transition, world.clock)
    stored = await world.policies.get(MODEL)
    assert stored is not None
    assert [each.version for each in stored.policy.variants] == [2]
    assert stored.actor == "monitor"
    assert transition.incident.id in stored.reason

    async def is_resolved() -> bool:
        world.clock += 1.0
        (incident,) = await world.watch.incidents(10)
        return incident.resolved_at is not None

    await eventually(is_resolved)
    (incident,) = await world.watch.incidents(10)
    assert incident.resolution == "the version no longer gets requests"
    assert incident.severity == "emergency"
    assert json.loads(json.dumps(incident.evidence))["stable"]["performance"]["drop"] > 0.15
    await kill(running, world)


async def test_an_arm_that_no_request_reaches_any_more_is_known_as_such_without_any_news_of_it(world: World) -> None:
    """No answer, no label, no incident: the policy alone tells, and what the arm did is history when it comes back."""
    variants = [{"name": "stable", "version": 1, "weight": 10_000}]
    policy = parse_policy({"model": MODEL, "variants": variants})
    await world.policies.put(policy, expected_revision=0, actor="ada", reason="a test", at=0.0)
    await world.ship(Log().records(rows(11, 10)))
    running = asyncio.create_task(world.monitor().run())

    async def is_counted() -> bool:
        return (await world.arm()).answers == 10

    await eventually(is_counted)
    assert not (await world.arm()).retired
    other = parse_policy({"model": MODEL, "variants": [{"name": "blue", "version": 1, "weight": 10_000}]})
    await world.policies.put(other, expected_revision=1, actor="ada", reason="a test", at=0.0)

    async def is_retired() -> bool:
        world.clock += 1.0
        return (await world.arm()).retired

    await eventually(is_retired)
    await kill(running, world)


async def test_what_was_judged_before_the_store_failed_becomes_an_incident_after_it(world: World) -> None:
    """The verdict is stored, and the ladder could not take it then: it does when it can, without further news."""
    policy = parse_policy({"model": MODEL, "variants": [{"name": "stable", "version": 1, "weight": 10_000}]})
    await world.policies.put(policy, expected_revision=0, actor="ada", reason="a test", at=0.0)
    world.policies.away = True
    records = Log().records(rows(12, 740, shift=1.0))
    for start in range(0, 740, 10):  # more entries than one turn takes: the second turn judges what the first counted
        await world.ship(records[start : start + 10])
    running = asyncio.create_task(world.monitor().run())

    async def is_judged() -> bool:
        return (await world.arm()).windows == 3

    await eventually(is_judged)
    assert await world.watch.incidents(10) == []
    await kill(running, world)
    world.policies.away = False
    running = asyncio.create_task(world.monitor().run())

    async def is_open() -> bool:
        return bool(await world.watch.incidents(10))

    await eventually(is_open)
    await kill(running, world)


PREDICTION, ACCURACY = Prediction(), LabelMetric()


async def rolled_out(world: World) -> Rollout:
    """A rollout of version 2 that has a share of the traffic, with checks that only the monitor can count for."""
    policy = parse_policy({"model": MODEL, "variants": [{"name": "stable", "version": 1, "weight": 10_000}]})
    made = begin(
        id="r1",
        version=2,
        plan=Plan(checks=(PREDICTION, ACCURACY)),
        policy=policy,
        policy_revision=1,
        actor="ada",
        reason="a test",
        now=START,
    )
    return await world.rollouts.put(at(made, phase=Phase.PROGRESSING, step=0))


async def test_what_the_arms_of_a_rollout_predict_and_their_labels_reach_its_checks(world: World) -> None:
    """Scores of the canary are spread as the control's, its labels contradict: one check passes and one fails.

    Across a kill of the monitor: every answer is counted once.
    """
    rollout, judge = await rolled_out(world), TrialJudge(world.watch)
    assert await judge.judgements(rollout) == {}
    total, half = 3000, 1500
    control, canary = Log(version=1), Log(version=2, incarnation="router-2", written=total)
    x = {"control": rows(1, total), "canary": rows(2, total)}
    records = {
        "control": control.records(x["control"], variant="control"),
        "canary": canary.records(x["canary"], variant="canary"),
    }
    values = {"control": truth(x["control"]), "canary": truth(x["canary"], wrong=0.4)}
    for part in (slice(0, half), slice(half, total)):
        running = asyncio.create_task(world.monitor().run())
        for name, each in records.items():
            await world.ship(each[part])
            await world.post(ids(each[part]), values[name][part].tolist())
        last = part.stop

        async def learned(last: int = last) -> bool:
            trial = await world.watch.trial(MODEL)
            if trial is None:
                return False
            counted = [side.losses.get(Metric.ACCURACY, NOTHING).total for side in (trial.canary, trial.control)]
            return counted == [last, last]

        await eventually(learned)
        await kill(running, world)

    found = await judge.judgements(rollout)
    assert found[PREDICTION].verdict is Verdict.PASS, found[PREDICTION].words
    assert found[ACCURACY].verdict is Verdict.FAIL, found[ACCURACY].words
    assert await judge.judgements(at(rollout, id="r2")) == {}
