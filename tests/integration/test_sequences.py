"""Sequences stay with one version and one replica, whatever happens around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from router.gateway.dispatch.sequences import Sequences
from router.policy.decision import Decision
from serving.backends.echo import EchoBackend
from serving.deployment.model_server import ModelServer
from tests.data_plane import MODEL, DataPlane, running_data_plane

pytestmark = pytest.mark.asyncio

ONE = [{"name": "stable", "version": 1, "weight": 10_000}]


class CountingEcho(EchoBackend):
    """An echo that knows how often it ran."""

    runs = 0

    def infer(self, inputs: Any, outputs: Any) -> Any:
        self.runs += 1
        return super().infer(inputs, outputs)


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """A router without models."""
    async with running_data_plane(f"unix://{valkey_socket}", request_timeout_s=5) as running:
        yield running


async def step(plane: DataPlane, sequence: int | str, **flags: bool) -> httpx.Response:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0] * 4}
    parameters = {"sequence_id": sequence, **{f"sequence_{name}": value for name, value in flags.items()}}
    return await plane.client.post(f"/v2/models/{MODEL}/infer", json={"inputs": [tensor], "parameters": parameters})


async def three_replicas(plane: DataPlane) -> dict[str, tuple[ModelServer, CountingEcho]]:
    replicas = {}
    for name in "abc":
        backend = CountingEcho()
        replicas[name] = (await plane.add_replica(1, backend, name), backend)
        backend.runs = 0
    await plane.set_policy(variants=ONE)
    return replicas


@pytest.mark.parametrize("sequence", [7, "a-name"])
async def test_a_sequence_stays_with_one_replica(plane: DataPlane, sequence: int | str) -> None:
    """From start to end, also when replicas come in the middle."""
    replicas = await three_replicas(plane)

    await step(plane, sequence, start=True)
    for _ in range(5):
        await step(plane, sequence)
    await plane.add_replica(1, EchoBackend(), "d")
    for _ in range(5):
        await step(plane, sequence)
    await step(plane, sequence, end=True)

    assert sorted(backend.runs for _, backend in replicas.values()) == [0, 0, 12]


async def test_sequences_spread_over_the_replicas(plane: DataPlane) -> None:
    """Each by its id."""
    replicas = await three_replicas(plane)

    for sequence in range(1, 31):
        await step(plane, sequence, start=True, end=True)

    assert all(backend.runs for _, backend in replicas.values())


async def test_a_sequence_stays_with_its_version_when_the_policy_moves_on(plane: DataPlane) -> None:
    """The decision of its first request holds; a new sequence follows the new policy."""
    for version in (1, 2):
        await plane.add_replica(version, EchoBackend())
    await plane.set_policy(variants=ONE)
    await step(plane, 7, start=True)
    await plane.set_policy(
        variants=[{"name": "stable", "version": 1, "weight": 0}, {"name": "next", "version": 2, "weight": 10_000}]
    )

    going_on, new = await step(plane, 7), await step(plane, 8, start=True)
    await step(plane, 7, end=True)
    again = await step(plane, 7, start=True)

    assert [answer.headers["x-shepherd-version"] for answer in (going_on, new, again)] == ["1", "2", "2"]


async def test_a_sequence_whose_replica_is_gone_is_over_and_can_be_started_again(plane: DataPlane) -> None:
    """The state is lost, so going on elsewhere would be wrong; nobody else notices."""
    replicas = await three_replicas(plane)
    await step(plane, 7, start=True)
    holder = next(name for name, (_, backend) in replicas.items() if backend.runs)
    await plane.remove_replica(1, holder, abruptly=True)

    lost, other = await step(plane, 7), await plane.infer([0, 0, 0, 0])
    again = await step(plane, 7, start=True)

    assert (lost.status_code, other.status_code, again.status_code) == (503, 200, 200)
    assert "start the sequence again" in lost.json()["error"]


async def test_what_is_remembered_is_bounded() -> None:
    """The quietest sequence goes first."""
    sequences = Sequences(limit=3)
    begun = [sequences.follow("m", {"sequence_id": number}, Decision("a", 1, "only")) for number in (1, 2, 3)]
    assert sequences.follow("m", {"sequence_id": 1}, Decision("a", 1, "only")) is begun[0]
    sequences.follow("m", {"sequence_id": 4}, Decision("a", 1, "only"))

    assert len(sequences) == 3
    assert sequences.follow("m", {"sequence_id": 1}, Decision("a", 1, "only")) is begun[0]
    assert sequences.follow("m", {"sequence_id": 2}, Decision("a", 1, "only")) is not begun[1]
    assert sequences.follow("m", {"sequence_id": 0}, Decision("a", 1, "only")) is None
