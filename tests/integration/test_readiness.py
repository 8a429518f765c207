"""When a router says that it is ready: once all that has traffic can answer, and from then on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from router.ports import ReplicaStatus, VersionStatus
from serving.backends.echo import EchoBackend
from tests.data_plane import MODEL, DataPlane, running_data_plane
from tests.held_backend import HeldBackend
from tests.waiting import until

pytestmark = pytest.mark.asyncio

SPLIT: dict[str, Any] = {
    "variants": [
        {"name": "stable", "version": 1, "weight": 9000},
        {"name": "canary", "version": 2, "weight": 1000},
        {"name": "dark", "version": 3, "weight": 0},
    ]
}


async def reason_unready(plane: DataPlane) -> str:
    """Ask over HTTP; empty when ready."""
    answer = await plane.client.get("/v2/health/ready")
    return "" if answer.status_code == 200 else str(answer.json()["error"])


async def until_ready(plane: DataPlane) -> None:
    async with asyncio.timeout(10):
        while await reason_unready(plane):
            await asyncio.sleep(0.01)


async def test_a_restarted_router_is_ready_once_every_version_with_traffic_is_connected(valkey_socket: Path) -> None:
    """Over HTTP and gRPC alike; a variant without traffic is not waited for, and liveness waits for nothing."""
    async with running_data_plane(f"unix://{valkey_socket}", policy=SPLIT) as plane:
        assert await reason_unready(plane) == f"no replica yet of {MODEL} version 1, {MODEL} version 2"
        assert (await plane.client.get("/v2/health/live")).status_code == 200
        async with grpc.aio.insecure_channel(plane.grpc) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            statuses = [(await check(health_pb2.HealthCheckRequest(service=name))).status for name in ("", "liveness")]
        assert statuses == [health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING]

        await plane.add_replica(1, EchoBackend())
        assert await reason_unready(plane) != ""
        await plane.add_replica(2, EchoBackend())
        await until_ready(plane)


async def test_a_version_that_is_lost_later_takes_no_router_out_of_rotation(valkey_socket: Path) -> None:
    """The model is unready, the router is not."""
    async with running_data_plane(f"unix://{valkey_socket}", policy=SPLIT) as plane:
        for version in (1, 2):
            await plane.add_replica(version, EchoBackend())
        await until_ready(plane)
        await plane.remove_replica(1, abruptly=True)
        async with asyncio.timeout(10):
            while (await plane.client.get(f"/v2/models/{MODEL}/ready")).status_code == 200:
                await asyncio.sleep(0.01)
        assert await reason_unready(plane) == ""


@pytest.mark.parametrize("state", ["failed", "ready"])
async def test_a_version_that_is_known_to_have_failed_or_to_sleep_is_not_waited_for(
    valkey_socket: Path, state: str
) -> None:
    """Scaled to zero is ready without a replica: the first request wakes it."""
    states = [VersionStatus(MODEL, version, state) for version in (1, 2)]
    async with running_data_plane(f"unix://{valkey_socket}", policy=SPLIT, states=states) as plane:
        await until_ready(plane)


async def test_a_router_does_not_wait_for_ever(valkey_socket: Path) -> None:
    """It is ready without a model that does not come, after `ready_timeout_s`."""
    replica = ReplicaStatus("1-a", 1, "here", "")
    states = [VersionStatus(MODEL, 1, "ready", replicas=(replica,), target_replicas=1)]
    async with running_data_plane(f"unix://{valkey_socket}", policy=SPLIT, states=states, ready_timeout_s=0.5) as plane:
        assert await reason_unready(plane) != ""
        await until_ready(plane)


async def test_closing_a_router_twice_closes_it_once(valkey_socket: Path) -> None:
    """Whoever asks while it drains waits for the same end."""
    async with running_data_plane(f"unix://{valkey_socket}") as plane:
        await asyncio.gather(plane.gateway.close(), plane.gateway.close())
        await plane.gateway.close()


async def test_what_is_in_flight_when_a_version_is_unloaded_is_answered(valkey_socket: Path) -> None:
    """The router lets go of a replica only when it owes nothing; who asks after that is told that it is not here."""
    async with running_data_plane(f"unix://{valkey_socket}") as plane:
        backend = HeldBackend()
        await plane.add_replica(1, backend)
        await plane.set_states(v1="ready")
        path = f"/v2/models/{MODEL}/versions/1/infer"
        async with asyncio.timeout(10):
            while (await plane.client.get(f"/v2/models/{MODEL}/versions/1/ready")).status_code != 200:
                await asyncio.sleep(0.01)
        with backend.held():
            asked = asyncio.create_task(plane.infer([1, 2, 3, 4], path=path))
            await until(lambda: plane.gateway.in_flight)
            await plane.set_states(v1="draining")
            assert (await plane.infer([1, 2, 3, 4], path=path)).status_code == 404
        assert (await asked).status_code == 200
