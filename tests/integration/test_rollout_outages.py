"""A rollout over a real Valkey: whatever dies in mid-change, each step is written once and nothing is half-applied."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from router.adapters.redis.policy_store import RedisPolicyStore
from router.adapters.redis.rollout_store import RedisRolloutStore
from router.adapters.webhook import Webhooks
from router.control.gates import Gates
from router.control.rollout_loop import RolloutLoop
from router.policy.audit import verify_chain
from router.policy.plan import Plan
from router.ports import StoreUnavailable, VersionStatus
from router.rollout.phase import Phase
from router.rollout.rollout import Rollout
from tests.rollouts import EPOCH_S, MODEL, NEW, OLD, base_policy, started
from tests.valkey import running_valkey, short_folder

pytestmark = pytest.mark.asyncio
#: Without requests and time at a step, every look is a turn: the plan takes about a dozen.
PLAN = Plan(steps=(1000, 5000, 10_000), min_requests=1, min_time_s=0, checks=(), bake_s=0)


class Ready:
    """Versions that are ready, and a registry that notes what it is told."""

    def __init__(self) -> None:
        self.named: list[int] = []

    def status_of(self, model: str, version: int) -> VersionStatus:
        return VersionStatus(model, version, "ready")

    def keep_trying(self, model: str, version: int) -> None:
        raise AssertionError("nothing fails here")

    async def ensure_ready(self, model: str, version: int, *, timeout_s: float) -> VersionStatus:
        return VersionStatus(model, version, "ready")

    async def aliased(self, model: str, alias: str) -> int:
        return OLD

    async def name(self, model: str, alias: str, version: int, tags: Mapping[str, str]) -> None:
        self.named.append(version)

    async def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        raise AssertionError("nothing fails here")


class World:
    """Controllers that come and go over one Valkey that does, too."""

    def __init__(self, folder: Path, metrics: Path) -> None:
        self.url, self.metrics = f"unix://{folder}/valkey.sock", metrics
        self.ready = Ready()
        self.now = EPOCH_S

    def controller(self) -> tuple[RolloutLoop, Callable[[], Awaitable[None]]]:
        """Make a controller with connections of its own; the second value ends it as a kill does."""
        policies, rollouts = RedisPolicyStore(self.url), RedisRolloutStore(self.url)
        loop = RolloutLoop(
            rollouts,
            policies,
            versions=self.ready,
            registry=self.ready,
            gates=Gates(Webhooks((), b""), lambda: self.now),
            metrics_dir=self.metrics,
            clock=lambda: self.now,
        )

        async def kill() -> None:
            await loop.close()
            await asyncio.gather(policies.close(), rollouts.close())

        return loop, kill

    async def start(self) -> None:
        policies, rollouts = RedisPolicyStore(self.url), RedisRolloutStore(self.url)
        await policies.put(base_policy(), expected_revision=0, actor="ada", reason="first", at=self.now)
        await rollouts.put(started(PLAN))
        await asyncio.gather(policies.close(), rollouts.close())

    async def look(self, loop: RolloutLoop) -> None:
        """One turn; the canary has answered what is asked of it."""
        await loop.look()
        await asyncio.sleep(0)
        self.now += 5.0

    async def record(self) -> tuple[Rollout, list[int], Any]:
        """Read the rollout, the new version's shares revision by revision, and where the audit chain breaks."""
        policies, rollouts = RedisPolicyStore(self.url), RedisRolloutStore(self.url)
        rollout = await rollouts.get(MODEL)
        assert rollout is not None
        revisions = [each.policy for each in await policies.revisions(MODEL)]
        shares = [sum(v.weight for v in each.variants if v.version == NEW) for each in revisions]
        broken = verify_chain(await policies.audit())
        await asyncio.gather(policies.close(), rollouts.close())
        return rollout, shares, broken


@pytest.fixture
def count_answers(tmp_path: Path) -> Callable[[int], None]:
    """Publish that many answers of each arm."""
    from serving.telemetry import catalog
    from serving.telemetry.folder import write_snapshot
    from serving.telemetry.instruments import Registry

    metrics = Registry("router-0")

    def count(n: int) -> None:
        for variant, version in (("canary", NEW), ("control", OLD), ("stable", OLD)):
            of = {"model": MODEL, "version": str(version), "variant": variant, "protocol": "http", "outcome": "ok"}
            metrics.counter(catalog.REQUESTS, **of).add(n)
        write_snapshot(tmp_path, "router-0", metrics.snapshot())

    return count


async def test_controllers_killed_anywhere_write_each_step_once(
    tmp_path: Path, count_answers: Callable[[int], None]
) -> None:
    """Cut off in the middle of a turn, at another place each time; the successor reads what is stored and goes on."""
    with short_folder() as folder, running_valkey(folder):
        world = World(folder, tmp_path)
        await world.start()
        for life in range(200):
            count_answers(5)
            loop, kill = world.controller()
            for _ in range(life % 3):
                await world.look(loop)
            turn = asyncio.create_task(world.look(loop))
            for _ in range(life % 40):
                await asyncio.sleep(0)  # let it come a little further than the one before
            if life % 5:
                turn.cancel()
            await asyncio.gather(turn, return_exceptions=True)
            await kill()
            if (await world.record())[0].is_over:
                break
        rollout, shares, broken = await world.record()
    assert rollout.phase is Phase.SUCCEEDED, rollout.words
    assert shares == [0, 1000, 5000, 10_000]
    assert broken is None


async def test_a_valkey_that_is_lost_between_turns_leaves_nothing_half_applied(
    tmp_path: Path, count_answers: Callable[[int], None]
) -> None:
    """Each time it is away a turn fails, says so, and changes nothing; the same controller goes on afterwards."""
    with short_folder() as folder:
        world = World(folder, tmp_path)
        with running_valkey(folder):
            await world.start()
        loop, kill = world.controller()
        for _ in range(40):
            with running_valkey(folder):
                for _ in range(3):
                    count_answers(5)
                    await world.look(loop)
                rollout, before, _ = await world.record()
            if rollout.is_over:
                break
            with pytest.raises(StoreUnavailable):
                await loop.look()
            with running_valkey(folder):
                assert (await world.record())[1] == before
        await kill()
        with running_valkey(folder):
            rollout, shares, broken = await world.record()
    assert rollout.phase is Phase.SUCCEEDED, rollout.words
    assert shares == [0, 1000, 5000, 10_000]
    assert (broken, set(world.ready.named)) == (None, {NEW})
