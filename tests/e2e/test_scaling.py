"""Replicas follow the load on a whole gateway, and what must not serve does not."""

from __future__ import annotations

import pytest

from router.cli.client import GatewayRefusal
from tests.gateway import RunningGateway, eventually
from tests.load import traffic
from tests.models import add, add_one

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FOUR = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
SLOW = {"shepherd.backend": "echo", "shepherd.echo.delay_ms": "20", "shepherd.max_batch": "1"}


def replicas(gateway: RunningGateway, model: str) -> int:
    return len(gateway.version(model, 1)["replicas"])


def register(gateway: RunningGateway, model: str, onnx: bytes, tags: dict[str, str]) -> None:
    with gateway.admin as admin:
        admin.register(model, onnx, tags=tags)


def test_replicas_grow_with_a_step_of_load_and_go_with_it(gateway: RunningGateway) -> None:
    """Why they grew can be read; nobody's request is lost in either direction."""
    bounds = {"shepherd.min_replicas": "1", "shepherd.max_replicas": "2", "shepherd.target_in_flight": "4"}
    # So long that nearly all of twelve clients wait for the model, however slow they are themselves.
    register(gateway, "elastic", b"", SLOW | bounds | {"shepherd.echo.delay_ms": "100"})
    gateway.route("elastic", ("stable", 1, 10_000))
    url = f"{gateway.url}/v2/models/elastic/infer"

    with traffic(url, FOUR, clients=1, pause_s=0.1) as light, traffic(url, FOUR, clients=12) as heavy:
        eventually(lambda: replicas(gateway, "elastic") == 2, timeout_s=40, what="a second replica")
        assert gateway.version("elastic", 1)["scaling"].startswith("1 → 2: ")
        heavy.stop()
        eventually(lambda: replicas(gateway, "elastic") == 1, timeout_s=40, what="one replica again")
        assert gateway.version("elastic", 1)["scaling"].startswith("2 → 1: ")
        answered = len(light.answers)
        eventually(lambda: len(light.answers) > answered + 5)

    assert set(light.statuses) | set(heavy.statuses) == {200}, (light.statuses, heavy.statuses)


def test_a_version_that_fails_the_gate_gets_no_traffic(gateway: RunningGateway) -> None:
    """The write is refused with the reason, and what served before serves on."""
    register(gateway, "gated", add_one(), {})
    register(gateway, "gated", add(2.0), {"shepherd.latency_budget_ms": "0.000001"})
    gateway.route("gated", ("stable", 1, 10_000))

    with pytest.raises(GatewayRefusal, match="latency check failed") as refused:
        gateway.route("gated", ("stable", 1, 5_000), ("canary", 2, 5_000))

    assert refused.value.status == 409
    assert gateway.version("gated", 2)["state"] == "failed"
    assert {gateway.infer("gated", FOUR["inputs"]).headers["x-shepherd-version"] for _ in range(20)} == {"1"}


def test_a_version_at_zero_comes_back_for_its_first_request(gateway: RunningGateway) -> None:
    """The request is held, not refused; idle again, the process goes and gives its memory back."""
    register(gateway, "sleeper", add_one(), {"shepherd.min_replicas": "0", "shepherd.max_replicas": "1"})
    gateway.route("sleeper", ("stable", 1, 10_000))
    eventually(lambda: replicas(gateway, "sleeper") == 0, timeout_s=40, what="no replica")

    answers = [gateway.infer("sleeper", FOUR["inputs"]) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3, answers[0].text
    eventually(lambda: replicas(gateway, "sleeper") == 0, timeout_s=40, what="no replica again")


def test_a_version_that_crashes_at_its_calls_is_given_up_and_the_others_serve_on(gateway: RunningGateway) -> None:
    """No endless restarts; its status says what happened."""
    register(gateway, "bystander", add_one(), {})
    register(gateway, "crasher", b"", {"shepherd.backend": "echo", "shepherd.echo.crash_on": "13"})
    for model in ("bystander", "crasher"):
        gateway.route(model, ("stable", 1, 10_000))
    poison = [{**FOUR["inputs"][0], "data": [13] * 4}]

    def given_up() -> bool:
        assert gateway.infer("crasher", poison, body={"parameters": {"timeout": 3_000_000}}).status_code >= 500
        return bool(gateway.version("crasher", 1)["state"] == "failed")

    eventually(given_up, timeout_s=120, what="the version to be given up")

    assert "given up" in gateway.version("crasher", 1)["reason"]
    assert gateway.infer("bystander", FOUR["inputs"]).status_code == 200
