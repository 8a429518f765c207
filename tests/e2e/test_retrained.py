"""The loop closes on a whole gateway: labels condemn a version, and the one that was trained for it takes over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.e2e.test_monitoring import answer_with, ask, judged_versions
from tests.gateway import RunningGateway, eventually
from tests.models import add

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MODEL = "retrained"
PLAN = {
    "shadow": {"min_requests": 20, "min_time_s": 0},
    "steps": [5000, 10_000],
    "min_requests": 20,
    "min_time_s": 0,
    "bake_s": 0,
    "checks": [],
}


def test_a_version_trained_for_an_incident_enters_as_a_shadow_and_takes_over(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    """Whoever trains it only tags it; incident and rollout name each other."""
    judged_versions(gateway, tmp_path, MODEL)
    with httpx.Client(timeout=10.0) as client, gateway.admin as admin:
        x = np.random.default_rng(0).random(300)
        answer_with(gateway, client, ask(gateway, client, x.tolist(), MODEL), x < 0.5, MODEL)
        eventually(lambda: _serving(gateway) == [1], what="the contradicted version to be rolled back")
        (incident,) = admin.incidents(MODEL)["incidents"]

        # The plan of a variant is for moves of its alias, and for this.
        variant = {"name": "stable", "version": 1, "weight": 10_000, "alias": "champion", "on_move": "rollout"}
        admin.patch_policy(MODEL, {"variants": [variant | {"plan": PLAN}]}, "a quick plan", "*")
        version = admin.register(MODEL, add(0.0, features=1), tags={"shepherd.incident": incident["id"]})

        def has_taken_over() -> bool:
            body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}]}
            assert client.post(f"{gateway.url}/v2/models/{MODEL}/infer", json=body).status_code == 200
            return _serving(gateway) == [version]

        eventually(has_taken_over, timeout_s=60, what="the retrained version to take over")
        rollout = eventually(lambda: _ended(admin.rollout(MODEL)), what="the rollout to end")
        (incident,) = admin.incidents(MODEL)["incidents"]
    assert (rollout["phase"], rollout["actor"], rollout["incident"]) == ("succeeded", "retraining", incident["id"])
    assert [moment["phase"] for moment in rollout["moments"]][1:3] == ["shadowing", "progressing"]
    assert [(each["version"], each["phase"]) for each in incident["rollouts"]] == [(version, "succeeded")]


def _ended(rollout: dict[str, Any]) -> dict[str, Any]:
    return rollout if rollout["ended_at"] else {}


def _serving(gateway: RunningGateway) -> list[int]:
    with gateway.admin as admin:
        there = admin.policy(MODEL)
    assert there is not None
    return [variant["version"] for variant in there.document["variants"] if variant["weight"]]
