"""Canaries made by hand, over stores in memory and a real folder of metrics: failing hard takes their share away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.memory.rollout_store import MemoryRolloutStore
from router.control.exposure_watch import ExposureWatch
from router.policy.actors import HARD_FAILURE_WATCH
from router.policy.audit import verify_chain
from router.policy.document import parse_policy
from router.ports import PolicyChange, VersionStatus
from router.rollout.phase import Phase
from router.rollout.rollout import Rollout
from serving.telemetry import catalog
from serving.telemetry.folder import write_snapshot
from serving.telemetry.instruments import Registry
from tests.rollouts import EPOCH_S, MODEL, NEW, OLD, at, started

pytestmark = pytest.mark.asyncio
WATCH_S = 600.0


class World:
    """Policies, counters of two routers, and the watch; time goes by looks."""

    def __init__(self, folder: Path) -> None:
        self.now = EPOCH_S
        self.folder = folder
        self.policies = MemoryPolicyStore()
        self.rollouts = MemoryRolloutStore(self.policies)
        self.routers = [Registry(f"router-{number}") for number in (0, 1)]
        self.states = {OLD: "ready", NEW: "ready"}
        self.watch = self.successor()

    def successor(self) -> ExposureWatch:
        return ExposureWatch(
            self.policies, self.rollouts, self, metrics_dir=self.folder, watch_s=WATCH_S, clock=lambda: self.now
        )

    def current(self) -> Sequence[VersionStatus]:
        return [VersionStatus(MODEL, version, state) for version, state in self.states.items()]

    async def give(self, percent: int, *, actor: str = "ada", restores: int = 0) -> None:
        """Give the new version a share."""
        shares = [("stable", OLD, 10_000 - 100 * percent), ("canary", NEW, 100 * percent)]
        variants = [{"name": name, "version": version, "weight": weight} for name, version, weight in shares]
        stored = await self.policies.get(MODEL)
        policy = parse_policy({"model": MODEL, "variants": variants})
        change = PolicyChange(MODEL, policy, stored.revision if stored else 0, restores)
        await self.policies.write([change], actor=actor, reason="a test", at=self.now)

    def answer(self, variant: str, version: int, n: int, outcome: str = "ok", router: int = 0) -> None:
        labels = {"model": MODEL, "version": str(version), "variant": variant, "protocol": "http", "outcome": outcome}
        self.routers[router].counter(catalog.REQUESTS, **labels).add(n)

    def publish(self) -> None:
        for number, router in enumerate(self.routers):
            write_snapshot(self.folder, f"router-{number}", router.snapshot())

    async def look(self) -> bool:
        self.publish()
        self.watch.follow(await self.policies.snapshot())
        is_busy = await self.watch.look()
        self.now += 1.0
        return is_busy

    async def share(self) -> int:
        stored = await self.policies.get(MODEL)
        assert stored is not None
        return sum(variant.weight for variant in stored.policy.variants if variant.version == NEW)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_canary_that_fails_hard_loses_its_share_and_the_audit_log_says_why(world: World) -> None:
    """By the counters of both routers together; the revision is the last good one brought back."""
    await world.give(0)
    await world.give(10)
    assert await world.look()
    world.answer("stable", OLD, 200)
    for router in (0, 1):
        world.answer("canary", NEW, 12, router=router)
        world.answer("canary", NEW, 5, "model_failed", router=router)
    await world.look()

    assert await world.share() == 0
    stored = await world.policies.get(MODEL)
    assert stored is not None
    assert (stored.actor, stored.restores) == (HARD_FAILURE_WATCH, 1)
    entries = await world.policies.audit()
    assert verify_chain(entries) is None
    assert (entries[-1].action, entries[-1].actor) == ("policy.rollback", HARD_FAILURE_WATCH)
    assert "10 of its last 34 requests failed" in entries[-1].reason
    assert "0 of 200" in entries[-1].reason


async def test_trouble_that_everybody_has_is_no_reason(world: World) -> None:
    """One request in five fails on either version."""
    await world.give(0)
    await world.give(50)
    await world.look()
    for _ in range(10):
        for variant, version in (("stable", OLD), ("canary", NEW)):
            world.answer(variant, version, 40)
            world.answer(variant, version, 10, "model_failed")
        await world.look()
    assert await world.share() == 5000


async def test_a_swap_by_hand_is_held_against_the_version_before_it(world: World) -> None:
    """At 100 % there is nobody beside it, only who was there before."""
    await world.give(0)
    world.answer("stable", OLD, 500)
    await world.give(100)
    await world.look()
    world.answer("canary", NEW, 10, "deadline")
    await world.look()
    assert await world.share() == 0


async def test_once_taken_back_nothing_flaps(world: World) -> None:
    """The old version is not on trial for having its share back, however it does then."""
    await test_a_canary_that_fails_hard_loses_its_share_and_the_audit_log_says_why(world)
    for _ in range(5):
        world.answer("stable", OLD, 20, "model_failed")
        assert not await world.look()
    assert len(await world.policies.revisions(MODEL)) == 3


async def test_nobody_is_watched_after_the_time_nor_without_a_raise(world: World) -> None:
    """A first policy, and a canary that has stood for the time of the watch."""
    await world.give(10)
    assert not await world.look()
    await world.give(20)
    world.now += WATCH_S + 1
    assert not await world.look()


async def test_a_successor_finds_the_trial_and_judges_what_comes(world: World) -> None:
    """Evidence is gathered anew, which costs seconds."""
    await world.give(0)
    await world.give(10)
    await world.look()
    world.watch = world.successor()
    await world.look()
    world.answer("canary", NEW, 20, "model_failed")
    await world.look()
    assert await world.share() == 0


async def test_nothing_is_done_without_ready_versions_to_go_back_to(world: World) -> None:
    """Bad answers are better than none; when they are ready, it happens."""
    await world.give(0)
    await world.give(100)
    await world.look()
    world.states[OLD] = "loading"
    world.answer("canary", NEW, 20, "model_failed")
    await world.look()
    assert await world.share() == 10_000
    world.states[OLD] = "ready"
    await world.look()
    assert await world.share() == 0


async def test_a_rollout_answers_for_its_own_version(world: World) -> None:
    """Two judges of one canary would get in each other's way."""
    await world.give(0)
    await world.give(10)
    await world.rollouts.put(at(started(), phase=Phase.PROGRESSING, step=0))
    await world.look()
    world.answer("canary", NEW, 20, "model_failed")
    await world.look()
    assert await world.share() == 1000


async def test_somebody_who_writes_at_the_same_time_is_not_overwritten(world: World) -> None:
    """The watch saw another revision than stands; it looks again, and then takes the share back."""
    await world.give(0)
    await world.give(10)
    await world.look()
    world.answer("canary", NEW, 20, "model_failed")
    world.publish()
    seen = await world.policies.snapshot()
    await world.give(30)
    world.watch.follow(seen)
    await world.watch.look()
    assert await world.share() == 3000
    await world.look()
    assert await world.share() == 0


@pytest.mark.parametrize("jump_s", [-86_400.0, 300.0])
async def test_a_clock_that_jumps_takes_no_evidence_away(world: World, jump_s: float) -> None:
    """Back by a day, or on by less than the time of the watch; further on, the trial is over early."""
    await world.give(0)
    await world.give(10)
    await world.look()
    world.answer("canary", NEW, 2, "model_failed")
    await world.look()
    world.now += jump_s
    world.answer("canary", NEW, 10, "model_failed")
    await world.look()
    assert await world.share() == 0


async def test_a_trial_that_cannot_be_judged_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is the matter with it."""
    for shares in ([10_000, 0], [9000, 1000]):
        variants = [{"name": f"v{v}", "version": v, "weight": weight} for v, weight in enumerate(shares, 1)]
        stored = await world.policies.get("aaa")
        change = PolicyChange(
            "aaa", parse_policy({"model": "aaa", "variants": variants}), stored.revision if stored else 0
        )
        await world.policies.write([change], actor="ada", reason="a test", at=world.now)
    await world.give(0)
    await world.give(10)
    await world.look()
    get = world.rollouts.get

    async def breaks(model: str) -> Rollout | None:
        if model == "aaa":
            raise RuntimeError("odd")
        return await get(model)

    monkeypatch.setattr(world.rollouts, "get", breaks)
    of = {"model": "aaa", "version": "2", "variant": "v2", "protocol": "http", "outcome": "model_failed"}
    world.routers[0].counter(catalog.REQUESTS, **of).add(20)
    world.answer("canary", NEW, 20, "model_failed")
    await world.look()
    assert await world.share() == 0


async def test_the_loop_looks_as_soon_as_a_policy_changes(world: World) -> None:
    """And ends when it is cancelled."""
    running = asyncio.create_task(world.watch.run())
    await world.give(0)
    await world.give(10)
    world.watch.follow(await world.policies.snapshot())
    async with asyncio.timeout(30):
        while MODEL not in world.watch._trials:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
