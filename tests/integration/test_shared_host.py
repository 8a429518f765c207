"""A shared host at work behind a router: guests that are cold, come, go, fail and crash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from router.ports import VersionStatus
from serving.deployment.hosting.model_host import ModelHost
from tests.data_plane import MODEL, DataPlane, running_data_plane
from tests.hosts import HOST, HostFolder, host_process, host_spec, running_host
from tests.models import add

pytestmark = pytest.mark.asyncio

ROW = [1.0, 2.0, 3.0, 4.0]
CRASHES_ON_13 = {"shepherd.backend": "echo", "shepherd.echo.crash_on": "13"}


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """A router that knows versions 1 to 6."""
    async with running_data_plane(f"unix://{valkey_socket}", request_timeout_s=10) as running:
        running.gateway.on_versions_wanted = lambda _: None
        shares = [{"name": f"v{version}", "version": version, "weight": 0} for version in range(2, 7)]
        await running.set_policy(variants=[{"name": "v1", "version": 1, "weight": 10_000}, *shares])
        yield running


@pytest.fixture
def host_folder(plane: DataPlane) -> HostFolder:
    """Nobody lives here yet."""
    return HostFolder(plane.folder)


def connect(plane: DataPlane, host_folder: HostFolder, host: ModelHost) -> None:
    for version in host_folder.guests:
        plane.gateway.set_endpoints(MODEL, version, [host_folder.at(version, host.endpoint)])


async def ask(plane: DataPlane, version: int, values: list[float] = ROW) -> tuple[int, object]:
    """Call a version; its status and answer."""
    response = await plane.infer(values, path=f"/v2/models/{MODEL}/versions/{version}/infer")
    body = response.json()
    return response.status_code, body["outputs"][0]["data"] if response.is_success else body["error"]


async def test_a_cold_guest_is_loaded_by_its_first_requests_which_are_held(
    plane: DataPlane, host_folder: HostFolder
) -> None:
    """All of them are answered, by one load."""
    host_folder.add(1, add(1.0))
    host_folder.add(2, add(2.0))
    async with running_host(host_spec(plane.folder)) as host:
        connect(plane, host_folder, host)
        assert (host_folder.state(1), host_folder.state(2)) == ("cold", "cold")
        answers = await asyncio.gather(*(ask(plane, 1) for _ in range(20)))
        assert answers == [(200, [2.0, 3.0, 4.0, 5.0])] * 20
        await host_folder.until(1, "loaded")
        assert host_folder.state(2) == "cold"


async def test_more_guests_than_may_be_loaded_take_turns_and_no_request_fails(
    plane: DataPlane, host_folder: HostFolder
) -> None:
    """The least recently used one makes room."""
    for version in range(1, 7):
        host_folder.add(version, add(float(version)))
    async with running_host(host_spec(plane.folder, max_loaded=2)) as host:
        connect(plane, host_folder, host)
        for _ in range(3):
            answers = await asyncio.gather(*(ask(plane, version) for version in range(1, 7) for _ in range(4)))
            assert {status for status, _ in answers} == {200}
        for version in (3, 5):
            assert await ask(plane, version) == (200, [value + version for value in ROW])
        await host_folder.until(3, "loaded")
        await host_folder.until(5, "loaded")
        assert [host_folder.state(version) for version in (1, 2, 4, 6)] == ["cold"] * 4


async def test_an_idle_guest_goes_cold_and_a_kept_one_does_not(plane: DataPlane, host_folder: HostFolder) -> None:
    """A kept one is loaded without a request, too."""
    host_folder.add(1, add(1.0))
    host_folder.add(2, add(2.0), kept=True)
    async with running_host(host_spec(plane.folder, cold_after_s=0.2)) as host:
        connect(plane, host_folder, host)
        await host_folder.until(2, "loaded")
        assert (await ask(plane, 1))[0] == 200
        await host_folder.until(1, "loaded")
        await host_folder.until(1, "cold")
        assert host_folder.state(2) == "loaded"
        assert (await ask(plane, 1))[0] == 200


async def test_a_guest_that_somebody_asked_for_is_loaded_without_a_request(host_folder: HostFolder) -> None:
    """Before its host has started, or later; what was asked for long ago is not loaded again by each new process."""
    for version, asked_ago_s in ((1, 5.0), (2, 3600.0), (3, 3600.0)):
        host_folder.add(version, add(float(version)))
        host_folder.ask(version, at=time.time() - asked_ago_s)
    async with running_host(host_spec(host_folder.folder)):
        await host_folder.until(1, "loaded")
        host_folder.ask(2, at=time.time())
        await host_folder.until(2, "loaded")
        assert host_folder.state(3) == "cold"


async def test_a_guest_that_cannot_be_loaded_is_refused_with_the_reason_and_its_neighbour_serves(
    plane: DataPlane, host_folder: HostFolder
) -> None:
    """Its requests get 503 and when to come again; it is not tried again at each of them."""
    host_folder.add(1, add(1.0))
    host_folder.add(2, add(2.0), tags={"shepherd.latency_budget_ms": "0.000001"})
    async with running_host(host_spec(plane.folder)) as host:
        connect(plane, host_folder, host)
        response = await plane.infer(ROW, path=f"/v2/models/{MODEL}/versions/2/infer")
        assert response.status_code == 503
        assert "latency check failed" in response.json()["error"]
        assert int(response.headers["retry-after"]) >= 1
        assert (await ask(plane, 2))[0] == 503
        assert (await ask(plane, 1))[0] == 200
        await host_folder.until(2, "failed")


async def test_a_cold_version_is_described_and_listed_as_ready_without_being_loaded(
    plane: DataPlane, host_folder: HostFolder
) -> None:
    """Not even its host's process has to be there."""
    host_folder.add(1, add(1.0))
    signature = host_folder.guests[1].signature
    await plane.board.publish([VersionStatus(MODEL, 1, "cold", host=HOST, signature=signature)])
    while plane.gateway.hosted_endpoint((MODEL, 1)) is None:
        await asyncio.sleep(0.01)

    described = (await plane.client.get(f"/v2/models/{MODEL}/versions/1")).json()
    assert [(each["name"], each["datatype"], each["shape"]) for each in described["inputs"]] == [("x", "FP32", [-1, 4])]
    assert (await plane.client.get(f"/v2/models/{MODEL}/versions/1/ready")).status_code == 200
    index = (await plane.client.post("/v2/repository/index", json={"ready": True})).json()
    assert [(each["name"], each["version"], each["state"]) for each in index] == [(MODEL, "1", "READY")]


async def test_a_guest_comes_and_goes_while_its_host_runs(plane: DataPlane, host_folder: HostFolder) -> None:
    """What it has received is answered before it goes."""
    host_folder.add(1, add(1.0))
    async with running_host(host_spec(plane.folder)) as host:
        host_folder.add(2, add(2.0))
        connect(plane, host_folder, host)
        asked = [asyncio.create_task(ask(plane, 2)) for _ in range(20)]
        assert (await asyncio.gather(*asked))[0] == (200, [3.0, 4.0, 5.0, 6.0])
        host_folder.remove(2)
        await host_folder.until(2, "")
        assert (await ask(plane, 1))[0] == 200


async def test_a_guest_that_crashes_its_host_is_named_and_not_let_in_again(
    plane: DataPlane, host_folder: HostFolder
) -> None:
    """Its neighbour is answered by the next process, though nobody told that one anything."""
    host_folder.add(1, add(1.0))
    host_folder.add(2, None, tags=CRASHES_ON_13)
    spec = host_spec(plane.folder)
    with host_process(spec, "a") as (process, endpoint):
        for version in (1, 2):
            plane.gateway.set_endpoints(MODEL, version, [host_folder.at(version, endpoint)])
            assert (await ask(plane, version))[0] == 200
        crashing = asyncio.create_task(ask(plane, 2, [13.0] * 4))
        await asyncio.to_thread(process.join, 10)
        assert process.exitcode is not None

        held = asyncio.create_task(ask(plane, 1))
        with host_process(spec, "b") as (_, successor):
            for version in (1, 2):
                plane.gateway.set_endpoints(MODEL, version, [host_folder.at(version, successor)])
            assert await held == (200, [2.0, 3.0, 4.0, 5.0])
            assert host_folder.files.read_report(HOST).suspects == (f"{MODEL}/2",)
            plane.gateway.set_endpoints(MODEL, 2, [])
            crashing.cancel()
        with host_process(spec, "c"):
            assert host_folder.files.read_report(HOST).suspects == (f"{MODEL}/2",)


async def test_a_host_that_is_killed_while_nobody_runs_suspects_nobody(
    plane: DataPlane, host_folder: HostFolder
) -> None:
    """All its guests come back."""
    host_folder.add(1, add(1.0))
    spec = host_spec(plane.folder)
    with host_process(spec, "a") as (process, endpoint):
        plane.gateway.set_endpoints(MODEL, 1, [host_folder.at(1, endpoint)])
        assert (await ask(plane, 1))[0] == 200
        process.kill()
        held = asyncio.create_task(ask(plane, 1))
        with host_process(spec, "b") as (_, successor):
            plane.gateway.set_endpoints(MODEL, 1, [host_folder.at(1, successor)])
            assert (await held)[0] == 200
            assert host_folder.files.read_report(HOST).suspects == ()


async def test_a_list_of_guests_that_cannot_be_read_changes_nothing_and_the_next_one_is_followed(
    plane: DataPlane, host_folder: HostFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """Those who are there are served on; it is told once."""
    host_folder.add(1, add(1.0))
    async with running_host(host_spec(plane.folder)) as host:
        connect(plane, host_folder, host)
        (guest_list,) = plane.folder.glob("host-*.guests.json")
        guest_list.write_bytes(b"[{")
        while "Reading the list of guests failed" not in caplog.text:
            await asyncio.sleep(0.01)
        assert (await ask(plane, 1))[0] == 200
        host_folder.add(2, add(2.0))
        connect(plane, host_folder, host)
        await host_folder.until(2, "cold")
        assert caplog.text.count("Reading the list of guests failed") == 1
        assert await ask(plane, 2) == (200, [3.0, 4.0, 5.0, 6.0])
