"""The monitor of a whole gateway: labels that contradict a version take its traffic away; killed, it comes back."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from router.cli.client import GatewayRefusal
from tests.gateway import RunningGateway, eventually
from tests.models import add

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MODEL = "judged"
#: What is promised from the label that tips the balance to no traffic on the version.
RNG = np.random.default_rng(0)


def judged_versions(gateway: RunningGateway, folder: Path, model: str = MODEL) -> None:
    """Register two versions of score = x with profiles of 90 % accuracy; the second one gets the traffic."""
    x = RNG.random(3000)
    wrong = RNG.random(3000) < 0.1
    table = folder / "reference.csv"
    lines = [f"{value},{int((value >= 0.5) != flip)}" for value, flip in zip(x, wrong, strict=True)]
    table.write_text("\n".join(["x,label", *lines]))
    with gateway.admin as admin:
        for number in (1, 2):
            admin.register(model, add(0.0, features=1))
            named = [model, "--version", str(number), "--data", str(table), "--label", "label"]
            gateway.shepherd("model", "profile", *named)
    gateway.route(model, ("stable", 1, 10_000))
    gateway.route(model, ("stable", 2, 10_000))
    eventually(lambda: _answers(gateway, model) == "2", what="the router to have the second policy")


def ask(gateway: RunningGateway, client: httpx.Client, values: Sequence[float], model: str = MODEL) -> list[str]:
    """Ask version 2 for the score of each value; return the ids of the requests.

    A router that has not been told yet whom to ask is asked again.
    """

    def answered(value: float) -> httpx.Response | None:
        body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}]}
        answer = client.post(f"{gateway.url}/v2/models/{model}/infer", json=body)
        assert answer.status_code == 200, answer.text
        return answer if answer.headers["x-shepherd-version"] == "2" else None

    answers = [eventually(lambda value=value: answered(value), what="version 2") for value in values]  # type: ignore[misc]
    return [answer.headers["x-shepherd-request-id"] for answer in answers if answer is not None]


def answer_with(
    gateway: RunningGateway, client: httpx.Client, request_ids: Sequence[str], labels: Any, model: str = MODEL
) -> None:
    """Post labels."""
    entries = [{"request_id": each, "label": int(label)} for each, label in zip(request_ids, labels, strict=True)]
    reply = client.post(f"{gateway.url}/v2/models/{model}/feedback", json={"labels": entries})
    assert reply.json() == {"accepted": len(entries), "rejected": 0}


def counted(gateway: RunningGateway, version: int, model: str = MODEL) -> dict[str, Any]:
    """What the monitor knows of the performance of a version's one arm."""
    with gateway.admin as admin:
        found = admin.performance(model)["versions"]
    arms: list[dict[str, Any]] = next((each["arms"] for each in found if each["version"] == version), [])
    return arms[0] if arms else {}


def monitor_pid(gateway: RunningGateway) -> int:
    pids = [pid for pid, title in gateway.processes().items() if "Monitor" in title]
    return pids[0] if pids else 0


def test_labels_that_contradict_a_version_take_its_traffic_back(gateway: RunningGateway, tmp_path: Path) -> None:
    """First sound labels and a kill of the monitor in between; then wrong ones: the version before serves again."""
    judged_versions(gateway, tmp_path)
    with httpx.Client(timeout=10.0) as client:
        x = RNG.random(200)
        asked = ask(gateway, client, x.tolist())
        answer_with(gateway, client, asked, x >= 0.5)
        eventually(lambda: _labelled(gateway) == 200, what="sound labels to be joined")
        before = monitor_pid(gateway)
        os.kill(before, signal.SIGKILL)
        x = RNG.random(300)
        asked = ask(gateway, client, x.tolist())
        eventually(lambda: monitor_pid(gateway) not in {0, before}, what="the monitor to be back")
        # 200, 300, and the one by which the router was seen to have the policy.
        eventually(lambda: counted(gateway, 2).get("answers") == 501, what="all answers to be counted once")
        answer_with(gateway, client, asked, x < 0.5)
        eventually(lambda: _serving(gateway) == [1], what="the traffic to be back")
    with gateway.admin as admin:
        (incident,) = admin.incidents(MODEL)["incidents"]
        acts = [entry for entry in admin.audit() if entry["actor"] == "monitor"]
    assert incident["severity"] == "emergency"
    assert incident["version"] == 2
    assert incident["evidence"]["stable"]["performance"]["drop"] > 0.15
    assert [entry["action"] for entry in acts] == ["policy.rollback"]
    assert incident["id"] in acts[0]["reason"]
    for command in (["drift", MODEL], ["performance", MODEL], ["incidents"]):
        assert gateway.shepherd(*command)


def _answers(gateway: RunningGateway, model: str) -> str | None:
    """Ask once, and tell which version answered."""
    body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}]}
    version: str | None = httpx.post(f"{gateway.url}/v2/models/{model}/infer", json=body).headers.get(
        "x-shepherd-version"
    )
    return version


def _labelled(gateway: RunningGateway) -> int:
    with gateway.admin as admin:
        try:
            count: int = admin.performance(MODEL)["labels"]["joined"]
        except GatewayRefusal:  # not seen yet
            return 0
    return count


def _serving(gateway: RunningGateway) -> list[int]:
    with gateway.admin as admin:
        there = admin.policy(MODEL)
    assert there is not None
    return [variant["version"] for variant in there.document["variants"] if variant["weight"]]
