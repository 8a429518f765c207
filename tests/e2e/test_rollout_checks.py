"""Rollouts on a whole gateway whose canary never fails and is still wrong: predictions and labels give it away."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from tests.gateway import RunningGateway, eventually
from tests.models import add, mirrored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MODEL = "arms"
#: Rows of one request: verdicts count rows.
ROWS = 10
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Version 1 says x and is right nine times in ten; 2 says x + 0.3; 3 says 1 - x, spread alike and always wrong."""
    x = RNG.random(3000)
    flips = RNG.random(3000) < 0.1
    table = tmp_path_factory.mktemp("reference") / "reference.csv"
    lines = [f"{value},{int((value >= 0.5) != flip)}" for value, flip in zip(x, flips, strict=True)]
    table.write_text("\n".join(["x,label", *lines]))
    with gateway.admin as admin:
        for onnx in (add(0.0, features=1), add(0.3, features=1), mirrored()):
            admin.register(MODEL, onnx)
    for version in ("1", "3"):  # labels tell nothing of a version without a profile
        gateway.shepherd("model", "profile", MODEL, "--version", version, "--data", str(table), "--label", "label")
    gateway.route(MODEL, ("stable", 1, 10_000))
    return MODEL


def started(gateway: RunningGateway, version: int, check: dict[str, Any]) -> None:
    """Give a version half of the traffic, with one check."""
    plan = {"version": version, "steps": [5000, 10_000], "min_requests": 50, "min_time_s": 0, "bake_s": 0}
    with gateway.admin as admin:
        admin.start_rollout(MODEL, {**plan, "checks": [check], "force": True}, "a test")
    eventually(lambda: _phase(gateway)["phase"] != "pending")


def asked(gateway: RunningGateway, client: httpx.Client) -> tuple[str, list[float]]:
    """Ask about some values; return the request's id and the values."""
    x = RNG.random(ROWS).tolist()
    body = {"inputs": [{"name": "x", "shape": [ROWS, 1], "datatype": "FP32", "data": x}]}
    answer = client.post(f"{gateway.url}/v2/models/{MODEL}/infer", json=body)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-shepherd-request-id"], x


def test_a_canary_that_predicts_otherwise_is_rolled_back(gateway: RunningGateway, model: str) -> None:
    """No request fails; its predictions lie where the control arm's do not."""
    started(gateway, 2, {"kind": "prediction"})
    with httpx.Client(timeout=10.0) as client:

        def over() -> dict[str, Any]:
            asked(gateway, client)
            return _over(gateway)

        rollout = eventually(over, timeout_s=60, what="the check of predictions to fail")
    assert rollout["phase"] == "failed", rollout["words"]
    assert "predicts otherwise" in rollout["words"]
    assert [finding["verdict"] for finding in rollout["findings"]] == ["fail"]


def test_a_canary_that_labels_contradict_is_rolled_back(gateway: RunningGateway, model: str) -> None:
    """Its predictions are spread as the control arm's are: only labels can tell."""
    started(gateway, 3, {"kind": "label_metric", "metric": "accuracy", "max_drop": 0.05})
    with httpx.Client(timeout=10.0) as client:

        def over() -> dict[str, Any]:
            request_id, x = asked(gateway, client)
            labels = [int(value >= 0.5) for value in x]
            entry = {"labels": [{"request_id": request_id, "label": labels}]}
            assert client.post(f"{gateway.url}/v2/models/{MODEL}/feedback", json=entry).json()["accepted"] == 1
            return _over(gateway)

        rollout = eventually(over, timeout_s=60, what="the check of labels to fail")
    assert rollout["phase"] == "failed", rollout["words"]
    assert "canary's accuracy down" in rollout["words"]
    with gateway.admin as admin:
        policy = admin.policy(MODEL)
    assert policy is not None
    assert [(each["name"], each["version"]) for each in policy.document["variants"]] == [("stable", 1)]


def _phase(gateway: RunningGateway) -> dict[str, Any]:
    with gateway.admin as admin:
        return admin.rollout(MODEL)


def _over(gateway: RunningGateway) -> dict[str, Any]:
    rollout = _phase(gateway)
    return rollout if rollout["ended_at"] else {}
