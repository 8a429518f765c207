"""Evidence is the sum over routers, whichever of them counted what, also when one dies in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.node_readings import NodeReadings
from router.analysis.counts import Histogram
from router.policy.document import parse_policy
from router.rollout.counters import read_counters
from router.rollout.evidence import Counters, since
from serving.telemetry import catalog
from serving.telemetry.folder import read_folder, write_snapshot
from serving.telemetry.instruments import Registry
from serving.telemetry.process import current_process

pytestmark = pytest.mark.asyncio
ARMS = (("canary", 2), ("control", 1), ("stable", 1))
RNG = np.random.default_rng(0)


class Router:
    """One router's counters, and a second set of those of a router that counts everything."""

    def __init__(self, folder: Path, name: str, everything: Registry) -> None:
        self._folder, self.name = folder, name
        self._own, self._everything = Registry(name), everything

    def answer(self, variant: str, version: int, outcome: str, seconds: float) -> None:
        of = {"model": "m", "version": str(version), "variant": variant, "protocol": "http"}
        for registry in (self._own, self._everything):
            registry.counter(catalog.REQUESTS, **of, outcome=outcome).add()
            registry.histogram(catalog.REQUEST_DURATION, **of).observe(seconds)

    def copy(self, version: int, outcome: str) -> None:
        """Send a copy to a shadow, or keep it back."""
        for registry in (self._own, self._everything):
            registry.counter(catalog.SHADOWS, model="m", version=str(version), outcome=outcome).add()

    def publish(self) -> None:
        write_snapshot(self._folder, self.name, self._own.snapshot())

    def die(self) -> None:
        """Leave the last file behind, of a process that is no more."""
        self.publish()
        pid, started = current_process()
        (self._folder / f"{self.name}.{pid}.{started}.metrics").rename(
            self._folder / f"{self.name}.{2**22 + 1}.{started}.metrics"  # beyond the kernel's largest pid
        )


def some_answers(router: Router, n: int) -> None:
    for _ in range(n):
        variant, version = ARMS[RNG.integers(len(ARMS))]
        router.answer(variant, version, "ok" if RNG.random() < 0.9 else "model_failed", float(RNG.exponential(0.01)))


def counted(folder: Path) -> Counters:
    return read_counters(read_folder(folder).snapshot, "m")


async def test_evidence_of_several_routers_is_that_of_one_that_answered_everything(tmp_path: Path) -> None:
    """Answers, failures and durations of each arm; one router dies and its successor begins at nothing."""
    everything = Registry("everything")
    routers = [Router(tmp_path, f"router-{number}", everything) for number in range(3)]
    for router in routers:
        some_answers(router, 100)
        router.publish()
    origin, whole = counted(tmp_path), read_counters(everything.snapshot(), "m")
    assert origin == whole

    some_answers(routers[1], 50)
    routers[1].die()
    routers[1] = Router(tmp_path, "router-1", everything)
    for router in routers:
        some_answers(router, 100)
        router.publish()
    gathered = since(counted(tmp_path), origin)
    expected = since(read_counters(everything.snapshot(), "m"), whole)
    assert gathered == expected
    assert sum(arm.answered for arm in gathered.arms) == 350
    for variant, version in ARMS:
        latency = gathered.arm(variant, version).latency
        assert isinstance(latency, Histogram)
        assert latency.total == gathered.arm(variant, version).answered


async def test_copies_to_shadows_add_up_and_those_kept_back_are_none(tmp_path: Path) -> None:
    """By version and outcome, over the routers that sent them."""
    everything = Registry("everything")
    for number in range(2):
        router = Router(tmp_path, f"router-{number}", everything)
        for outcome in ("ok", "model_failed", "model_failed", "dropped"):
            router.copy(3, outcome)
        router.publish()
    assert counted(tmp_path).copies == {3: {"ok": 2, "model_failed": 4}}


async def test_a_readout_sums_up_every_router_since_the_split_changed(tmp_path: Path) -> None:
    """Answers of before are nobody's, of whichever router."""
    everything = Registry("everything")
    routers = [Router(tmp_path, f"router-{number}", everything) for number in range(3)]
    for router in routers:
        some_answers(router, 40)
        router.publish()
    readings, store = NodeReadings(tmp_path, settle_s=0.0), MemoryPolicyStore()
    variants = [{"name": name, "version": version, "weight": 0} for name, version in ARMS]
    variants[2]["weight"] = 10_000
    policy = parse_policy({"model": "m", "variants": variants})
    await store.put(policy, expected_revision=0, actor="ada", reason="a test", at=0.0)
    readings.follow(await store.snapshot())
    async with asyncio.timeout(30):
        while (reading := await readings.reading("m")) is None:
            await asyncio.sleep(0.001)
    assert sum(arm.answered for arm in reading.counters.arms) == 0
    for router in routers:
        some_answers(router, 25)
        router.publish()
    reading = await readings.reading("m")
    assert reading is not None
    assert sum(arm.answered for arm in reading.counters.arms) == 75
    await readings.close()
