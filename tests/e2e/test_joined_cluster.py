"""A gateway on a Ray cluster that is not its own: it serves there, with keys, and leaves the rest of it alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway import RunningGateway, eventually, running_gateway
from tests.models import add
from tests.ray_head import RayHead, running_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FOUR = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


@pytest.fixture
def head(tmp_path: Path) -> Iterator[RayHead]:
    """A cluster with somebody else's application on it."""
    with running_head(tmp_path) as running:
        eventually(lambda: "Ray runtime started" in running.program.output, what="the cluster")
        running.deploy_foreign()
        yield running


@pytest.fixture
def gateway(head: RayHead, tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway that has joined it, and asks for keys."""
    flags = ("--ray-address", head.address, "--api-keys", "required")
    with running_gateway(tmp_path / "state", home=tmp_path, flags=flags, environment=head.environment) as running:
        yield running


def test_a_gateway_serves_on_a_cluster_that_it_joined_and_leaves_it_alone(
    gateway: RunningGateway, head: RayHead
) -> None:
    """It answers who has a key, until that is revoked; `down` takes its own applications away and nothing else."""
    with gateway.admin as admin:
        admin.register("add", add(1.0))
        admin.create_policy("add", {"variants": [{"name": "stable", "version": 1, "weight": 10_000}]}, "first")
    key = {"x-api-key": gateway.shepherd("key", "create", "team", "--models", "add").strip()}

    def status(headers: dict[str, str]) -> int:
        return httpx.post(f"{gateway.url}/v2/models/add/infer", json=FOUR, headers=headers).status_code

    eventually(lambda: status(key) == 200, what="the routers to know model and key")
    assert gateway.infer("add", FOUR["inputs"], headers=key).json()["outputs"][0]["data"] == [2, 3, 4, 5]
    assert status({}) == 401
    gateway.shepherd("key", "revoke", "team")
    eventually(lambda: status(key) == 401, what="the revocation to reach the routers")
    assert {"gateway", "control", "model.add.1", "foreign"} <= head.applications().keys()

    gateway.shepherd("down")

    assert gateway.process is not None
    assert gateway.process.wait(30) == 0
    assert head.program.process is not None
    assert head.program.process.poll() is None
    assert head.applications() == {"foreign": "RUNNING"}
