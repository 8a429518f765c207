"""Shadows and experiments over the admin API and on the command line: plain words, numbers beside them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.node_readings import NodeReadings
from router.analysis.answers import compare_answers
from router.analysis.counts import Moments
from router.analysis.shadow_report import Comparison, ShadowReport, comparison_of
from router.policy.document import parse_policy
from router.ports import Reading
from router.rollout.evidence import ArmCounters, Counters
from serving.protocol.arrays import to_tensor
from serving.telemetry import catalog
from serving.telemetry.folder import write_snapshot
from serving.telemetry.instruments import Registry
from tests.admin import MODEL, AdminWorld, policy_body

pytestmark = pytest.mark.asyncio
CREATE = {"If-None-Match": "*"}
BOUNDS = catalog.REQUEST_DURATION.bounds


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    return AdminWorld(tmp_path)


def flipped() -> Comparison:
    """Two answers whose first class differs."""
    one, two = (to_tensor("y", np.array([row], "float32")) for row in ([1.0, 0.0], [0.0, 1.0]))
    return comparison_of(compare_answers([one], [two]))


def arm(variant: str, version: int, ok: int, failed: int, bucket: int = 8) -> ArmCounters:
    durations = [0] * (len(BOUNDS) + 1)
    durations[bucket] = ok + failed
    return ArmCounters(variant, version, {"ok": ok, "model_failed": failed}, {}, BOUNDS, tuple(durations))


async def test_an_experiment_says_in_words_what_is_known(world: AdminWorld) -> None:
    """The worse arm is named with its distance; latency and outcome stand beside."""
    world.readings.counted = Reading(
        1000.0, Counters((arm("stable", 1, 8910, 90), arm("canary", 2, 940, 60, bucket=14)))
    )
    async with world.client() as client:
        await client.put(f"/admin/v1/policies/{MODEL}", json=policy_body(), headers=CREATE)
        readout = (await client.get(f"/admin/v1/models/{MODEL}/experiment")).json()
    assert readout["control"] == "stable"
    assert readout["words"] == "stable is better than every other arm"
    (canary,) = readout["comparisons"]
    assert canary["errors"]["verdict"] == "worse"
    assert canary["errors"]["words"].startswith("canary worse than stable by 5.0 ±")
    assert canary["latency"]["verdict"] == "worse"
    assert canary["outcome"]["verdict"] == "not yet"
    assert not readout["sample_ratio"]["alarm"]


async def test_a_split_that_is_not_kept_stops_the_reading(world: AdminWorld) -> None:
    """Half of the canary's requests are missing: nothing else counts."""
    world.readings.counted = Reading(1000.0, Counters((arm("stable", 1, 9000, 0), arm("canary", 2, 500, 0))))
    async with world.client() as client:
        await client.put(f"/admin/v1/policies/{MODEL}", json=policy_body(), headers=CREATE)
        readout = (await client.get(f"/admin/v1/models/{MODEL}/experiment")).json()
    assert readout["sample_ratio"]["alarm"]
    assert readout["words"].startswith("sample ratio mismatch:")


async def test_posted_outcomes_decide_which_arm_is_better(world: AdminWorld) -> None:
    """The winner is told by what was posted, not by errors."""
    world.readings.counted = Reading(1000.0, Counters((arm("stable", 1, 9000, 0), arm("canary", 2, 1000, 0))))
    world.readings.posted = {"stable": Moments(9000, 0.10, 810.0), "canary": Moments(1000, 0.20, 160.0)}
    async with world.client() as client:
        await client.put(f"/admin/v1/policies/{MODEL}", json=policy_body(), headers=CREATE)
        readout = (await client.get(f"/admin/v1/models/{MODEL}/experiment")).json()
    assert readout["words"].startswith("canary better than stable by 0.1 ±")


async def test_before_the_split_has_settled_there_is_nothing_to_read(world: AdminWorld) -> None:
    """And an unknown control is a mistake, by name."""
    async with world.client() as client:
        assert (await client.get(f"/admin/v1/models/{MODEL}/experiment")).status_code == 404
        await client.put(f"/admin/v1/policies/{MODEL}", json=policy_body(), headers=CREATE)
        readout = (await client.get(f"/admin/v1/models/{MODEL}/experiment")).json()
        mistake = await client.get(f"/admin/v1/models/{MODEL}/experiment", params={"control": "none"})
    assert readout["words"] == "not yet: the split has just changed"
    assert (mistake.status_code, mistake.json()["field"]) == (400, "control")


async def test_a_shadow_report_has_words_outputs_and_examples(world: AdminWorld) -> None:
    """Shadows that have not answered yet are there, too."""
    world.readings.shadows = {3: ShadowReport(shadow=flipped())}
    async with world.client() as client:
        shadows = [{"version": 4, "sample": 2000}]
        await client.put(f"/admin/v1/policies/{MODEL}", json=policy_body(shadows=shadows), headers=CREATE)
        answer = (await client.get(f"/admin/v1/models/{MODEL}/shadow")).json()
    gone, new = answer["shadows"]
    assert (gone["version"], gone["sample"], gone["shadow"]["outputs"]["y"]["label_flips"]) == (3, 0, 1)
    assert gone["words"].startswith("disagrees in 100.0 % of 1 answers")
    assert (new["version"], new["sample"], new["words"]) == (4, 2000, "not yet: no answer compared")


async def test_counts_under_a_former_split_are_left_out(tmp_path: Path) -> None:
    """Each change of the weights begins anew; a change of shadows does not."""
    metrics = Registry("router-1")
    requests = metrics.counter(catalog.REQUESTS, model="m", version="1", variant="a", protocol="http", outcome="ok")
    readings = NodeReadings(tmp_path, settle_s=0.0)
    store = MemoryPolicyStore()

    async def put(revision: int, **more: object) -> None:
        variants = [{"name": "a", "version": 1, "weight": 10_000}]
        policy = parse_policy({"model": "m", "variants": variants, **more})
        await store.put(policy, expected_revision=revision, actor="t", reason="t", at=0.0)
        readings.follow(await store.snapshot())

    async def counted() -> int:
        write_snapshot(tmp_path, metrics.process, metrics.snapshot())
        while (reading := await readings.reading("m")) is None:
            await asyncio.sleep(0.001)
        return reading.counters.arm("a", 1).answered

    requests.add(100)
    write_snapshot(tmp_path, metrics.process, metrics.snapshot())
    await put(0)
    assert await counted() == 0
    requests.add(7)
    assert await counted() == 7
    await put(1, shadows=[{"version": 2}])
    assert await counted() == 7
    await put(2, salt="anew")
    assert await counted() == 0
    await readings.close()


async def test_reports_survive_their_encoding() -> None:
    """What a router writes is what a reader adds up."""
    seen = flipped()
    report = ShadowReport(shadow=seen, noise=seen)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=ShadowReport) == report
