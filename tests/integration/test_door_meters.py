"""What the gRPC door's Envoy counts reaches the node's metrics page, and nobody else reads it at the source."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from serving.backends.echo import EchoBackend
from serving.telemetry.metrics_app import scrape
from tests.data_plane import DataPlane, running_data_plane
from tests.grpc_calls import infer_message, unary

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """An echo model behind Envoy."""
    async with running_data_plane(f"unix://{valkey_socket}", grpc_door="envoy") as running:
        await running.add_replica(1, EchoBackend())
        await running.set_policy(variants=[{"name": "stable", "version": 1, "weight": 10_000}])
        yield running


def scraped(plane: DataPlane) -> dict[str, float]:
    """The door's series of the metrics page."""
    page = scrape(plane.folder / "metrics")[0].decode()
    series = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
    names = ("shepherd_grpc_door", 'shepherd_connections{protocol="grpc"}')
    return {name: float(value) for name, _, value in series if name.startswith(names)}


async def tended_until(plane: DataPlane, **expected: float) -> dict[str, float]:
    """Tend the door, as its node does, until its counters are these."""
    async with asyncio.timeout(20):
        while True:
            assert plane.door is not None
            await asyncio.to_thread(plane.door.tend)
            found = scraped(plane)
            if all(found.get(f"shepherd_grpc_door_{name}") == value for name, value in expected.items()):
                return found
            await asyncio.sleep(0.05)


async def calls(plane: DataPlane, count: int) -> None:
    """Make calls, one after the other."""
    async with grpc.aio.insecure_channel(plane.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        for _ in range(count):
            await unary(channel)(infer_message(1, 2, 3, 4), wait_for_ready=True, timeout=10)


async def test_calls_connections_and_routers_are_counted(plane: DataPlane) -> None:
    """On the one page, under our names."""
    async with grpc.aio.insecure_channel(plane.grpc) as channel:
        for _ in range(3):
            await unary(channel)(infer_message(1, 2, 3, 4))

        found = await tended_until(plane, calls_total=3)

    assert found["shepherd_grpc_door_forwarded_total"] == 3
    assert found["shepherd_grpc_door_routers"] == 1
    assert found['shepherd_connections{protocol="grpc"}'] == 1
    assert found["shepherd_grpc_door_in_flight"] == 0
    assert found["shepherd_grpc_door_memory_bytes"] > 1 << 20


async def test_counters_go_on_through_replacements_and_deaths(plane: DataPlane) -> None:
    """Each process counts from nothing; the page does not."""
    door: Any = plane.door
    await calls(plane, 3)
    await tended_until(plane, calls_total=3, starts_total=1)

    door.replace()
    await tended_until(plane, starts_total=2)
    while not door.is_settled:
        await asyncio.to_thread(door.tend)
    await calls(plane, 2)
    await tended_until(plane, calls_total=5)
    os.kill(door.pid, signal.SIGKILL)
    await tended_until(plane, starts_total=3)
    await asyncio.to_thread(door.wait_ready)
    await calls(plane, 1)

    assert (await tended_until(plane, calls_total=6))["shepherd_grpc_door_starts_total"] == 3


async def test_lost_calls_are_counted_by_how_they_were_lost(plane: DataPlane) -> None:
    """A router that is not there any more."""
    await plane.gateway.close()

    with pytest.raises(grpc.aio.AioRpcError):
        async with grpc.aio.insecure_channel(plane.grpc) as channel:
            await unary(channel)(infer_message(1), timeout=5)

    found = await tended_until(plane, calls_total=1)
    assert sum(value for name, value in found.items() if "lost_total" in name) >= 1
