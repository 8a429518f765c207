"""An alias that moves in the registry moves the traffic, and no request notices."""

from __future__ import annotations

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
