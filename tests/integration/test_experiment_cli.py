"""`shepherd shadow show` and `shepherd experiment`: the sentence first, the numbers below."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from router.analysis.answers import compare_answers
from router.analysis.shadow_report import Example, ShadowReport, comparison_of
from router.cli.main import cli
from router.policy.document import parse_policy
from router.ports import Reading
from router.rollout.evidence import ArmCounters, Counters
from serving.protocol.arrays import to_tensor
from serving.telemetry.catalog import REQUEST_DURATION
from tests.admin import MODEL, SHARES, AdminWorld, serving

BOUNDS = REQUEST_DURATION.bounds


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    return AdminWorld(tmp_path)


@pytest.fixture
def url(world: AdminWorld) -> Iterator[str]:
    with serving(world.app) as url:
        yield url


def shepherd(world: AdminWorld, url: str, *arguments: str) -> str:
    """Run a command that must succeed."""
    environment = {"SHEPHERD_URL": url, "SHEPHERD_TOKEN": world.admin_token}
    result = CliRunner(env=environment).invoke(cli, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_shadow_is_shown_with_its_outputs_and_worst_examples(world: AdminWorld, url: str) -> None:
    """Enough to look the request up in the log."""
    one, two = (to_tensor("score", np.array([row], "float32")) for row in ([1.0, 0.0], [0.0, 1.0]))
    example = Example(1.5, "r-1f", "r-s3", "score", "[1.0, 0.0]", "[0.0, 1.0]")
    world.readings.shadows = {3: ShadowReport(comparison_of(compare_answers([one], [two])), examples=(example,))}
    shown = shepherd(world, url, "shadow", "show", MODEL)
    assert "version 3: disagrees in 100.0 % of 1 answers" in shown
    assert "r-1f  score: [1.0, 0.0] became [0.0, 1.0]" in shown
    assert json.loads(shepherd(world, url, "shadow", "show", MODEL, "-o", "json"))["shadows"][0]["version"] == 3


async def _write_policy(world: AdminWorld) -> None:
    policy = parse_policy({"model": MODEL, "variants": SHARES})
    await world.store.put(policy, expected_revision=0, actor="t", reason="t", at=0.0)


@pytest.mark.asyncio
async def test_an_experiment_is_shown_arm_by_arm(world: AdminWorld, url: str) -> None:
    """Rates with their bounds, and each comparison as a sentence."""
    await _write_policy(world)
    durations = (100,) + (0,) * len(BOUNDS)
    arms = tuple(
        ArmCounters(name, version, {"ok": n}, {}, BOUNDS, durations)
        for name, version, n in (("stable", 1, 900), ("canary", 2, 100))
    )
    world.readings.counted = Reading(1000.0, Counters(arms))
    shown = shepherd(world, url, "experiment", MODEL)
    assert shown.startswith("not yet: no arm is known to be better than stable")
    assert "no sample ratio mismatch" in shown
    assert "canary" in shown
