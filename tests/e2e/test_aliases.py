"""An alias that moves in the registry moves the traffic, at once or by a rollout, and no request notices."""

from __future__ import annotations

import httpx
import pytest

from serving.registry.registry import Registry
from tests.gateway import RunningGateway, eventually
from tests.load import traffic
from tests.models import add

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]

FOUR = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


def test_a_moved_alias_swaps_the_version_under_load(gateway: RunningGateway) -> None:
    """The new version is warm and golden-checked before its first request; the revision says what moved."""
    with gateway.admin as admin:
        for offset in (1.0, 2.0):
            admin.register("followed", add(offset))
    registry = Registry.open(None, state_dir=gateway.state_dir)
    registry.set_alias("followed", "champion", 1)
    variant = {"name": "stable", "version": 1, "weight": 10_000, "alias": "champion"}
    with gateway.admin as admin:
        admin.create_policy("followed", {"model": "followed", "variants": [variant]}, "a test")

    with traffic(f"{gateway.url}/v2/models/followed/infer", FOUR) as load:
        eventually(lambda: len(load.answers) > 50)
        registry.set_alias("followed", "champion", 2)
        eventually(lambda: load.answers[-1].version == "2", timeout_s=60, what="the new version")
        answered = len(load.answers)
        eventually(lambda: len(load.answers) > answered + 50)
    registry.close()

    assert set(load.statuses) == {200}, load.statuses
    assert {answer.version for answer in load.answers[answered + 20 :]} == {"2"}
    with gateway.admin as admin:
        found = admin.policy("followed")
    assert found is not None
    assert (found.document.get("policy") or found.document)["variants"][0]["version"] == 2


def test_a_moved_alias_begins_the_rollout_that_the_policy_asks_for(gateway: RunningGateway) -> None:
    """The policy named the alias alone; at the end it follows it still, at the new version."""
    with gateway.admin as admin:
        for offset in (1.0, 2.0):
            admin.register("rolled", add(offset))
    registry = Registry.open(None, state_dir=gateway.state_dir)
    registry.set_alias("rolled", "champion", 1)
    plan = {"steps": [5000, 10_000], "min_requests": 20, "min_time_s": 0.5, "bake_s": 0.5, "checks": []}
    variant = {"name": "stable", "weight": 10_000, "alias": "champion", "on_move": "rollout", "plan": plan}
    with gateway.admin as admin:
        created = admin.create_policy("rolled", {"model": "rolled", "variants": [variant]}, "a test")
        assert created["variants"][0]["version"] == 1
        eventually(lambda: httpx.get(f"{gateway.url}/v2/models/rolled").is_success, what="the routers to know it")
        with traffic(f"{gateway.url}/v2/models/rolled/infer", FOUR) as load:
            registry.set_alias("rolled", "champion", 2)
            eventually(lambda: load.answers and load.answers[-1].version == "2", timeout_s=60, what="the new version")
            eventually(lambda: admin.rollout("rolled")["ended_at"], timeout_s=60, what="the rollout to end")
        registry.close()
        rollout, found = admin.rollout("rolled"), admin.policy("rolled")

    assert set(load.statuses) == {200}, load.statuses
    assert (rollout["phase"], rollout["actor"], rollout["version"]) == ("succeeded", "registry", 2)
    assert [moment["share_bp"] for moment in rollout["moments"]][:2] == [0, 5000]
    assert found is not None
    (stable,) = found.document["variants"]
    assert (stable["version"], stable["alias"], stable["on_move"]) == (2, "champion", "rollout")
