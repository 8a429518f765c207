"""How the gRPC door lives: it starts, is replaced, dies and comes back, and so do the routers behind it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import struct
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from msgspec.structs import replace

from router.cli.location import find_node
from router.layout import Layout
from router.node.directory import NodeRecord
from router.node.envoy import EnvoyDoor, door_config
from router.node.envoy_process import EnvoyFailed
from router.node.envoy_reload import Renewal
from router.settings import Settings
from serving.backends.echo import EchoBackend, EchoOptions
from serving.channel.endpoint import Endpoint
from tests.certificates import make_certificates, renew_certificates
from tests.data_plane import MODEL, TOKEN, DataPlane, running_data_plane, running_door
from tests.grpc_calls import infer_message, row_of, unary
from tests.ports import free_ports
from tests.router_process import running_router
from tests.waiting import until

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

ONE = [{"name": "stable", "version": 1, "weight": 10_000}]
PATIENCE_S = 20.0


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """An echo model behind Envoy, with places for two routers and one in-process router on the first."""
    url = f"unix://{valkey_socket}"
    async with running_data_plane(url, grpc_door="envoy", routers=2, request_timeout_s=10) as running:
        await running.add_replica(1, EchoBackend(EchoOptions(delay_ms=2)))
        await running.set_policy(variants=ONE)
        yield running


class Load:
    """Clients that call without pause, each on its own connection."""

    def __init__(self) -> None:
        self.answered = 0
        self.failures: list[grpc.aio.AioRpcError] = []

    async def call_until(self, done: asyncio.Event, address: str) -> None:
        async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            while not done.is_set():
                try:
                    assert row_of(await unary(channel)(infer_message(1, 2, 3, 4))) == struct.pack("<4f", 1, 2, 3, 4)
                except grpc.aio.AioRpcError as failure:
                    self.failures.append(failure)
                self.answered += 1


@asynccontextmanager
async def load(address: str, clients: int = 8) -> AsyncIterator[Load]:
    """Load a port for the length of the block, which begins when answers flow; failures show at its end."""
    running, done = Load(), asyncio.Event()
    tasks = [asyncio.create_task(running.call_until(done, address)) for _ in range(clients)]
    await until(lambda: running.answered > 10 * clients)
    yield running
    seen = running.answered
    await until(lambda: running.answered > seen + 10 * clients)
    done.set()
    await asyncio.gather(*tasks)
    assert running.failures == []


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def logged_bytes(plane: DataPlane, router: str) -> int:
    """Tell by its log how much a router has answered."""
    return sum(path.stat().st_size for path in plane.folder.glob(f"spool/{router}/*.seg"))


def routers(
    settings: Settings, redis_url: str, endpoints: Sequence[Endpoint]
) -> Callable[[str], AbstractContextManager[Any]]:
    """Make a function that runs routers by their names."""
    policy = {"model": MODEL, "variants": ONE}
    answering: Any = {"token": TOKEN, "policy": policy, "endpoints": endpoints}
    return partial(running_router, settings=settings, redis_url=redis_url, **answering)


async def tended_until(door: EnvoyDoor, condition: Callable[[], Any]) -> None:
    """Tend the door, as its node does, until something has come about."""

    def come_about() -> Any:
        door.tend()
        return condition()

    await until(come_about)


async def answers(address: str) -> bool:
    """Make one call on a new connection."""
    async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            return bool(await unary(channel)(infer_message(1, 2, 3, 4), timeout=5))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return False
            raise


async def test_a_planned_replacement_costs_no_call(plane: DataPlane) -> None:
    """The successor listens on the same port before its predecessor stops; clients move with their next answer."""
    assert plane.door is not None
    first = plane.door.pid

    async with load(plane.grpc):
        plane.door.replace()
        await tended_until(plane.door, lambda: plane.door is not None and plane.door.is_settled)

    assert plane.door.pid not in {None, first}


async def test_a_successor_that_does_not_come_up_changes_nothing(plane: DataPlane) -> None:
    """For want of a readable certificate, say: the door goes on as it is."""
    assert plane.door is not None
    first = plane.door.pid
    certificate = plane.folder / "certificate.pem"
    certificate.write_text("no certificate")
    settings = replace(plane.settings, tls_certificate=certificate, tls_key=certificate)

    async with load(plane.grpc):
        plane.door.replace(door_config(settings, Layout(plane.folder, plane.folder)))
        await tended_until(plane.door, lambda: plane.door is not None and plane.door.is_settled)

    assert plane.door.pid == first


async def test_a_door_that_is_killed_comes_back(plane: DataPlane) -> None:
    """With the same routers behind it."""
    assert plane.door is not None
    first = plane.door.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)
    await tended_until(plane.door, lambda: plane.door is not None and plane.door.pid not in {None, first})
    await asyncio.to_thread(plane.door.wait_ready)

    assert await answers(plane.grpc)


@pytest.mark.parametrize("reason", ["it was killed", "it is replaced"])
async def test_a_door_whose_files_cannot_be_written_is_started_again_once_they_can(
    plane: DataPlane, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk ends neither the node nor what was due; it is told once."""
    assert plane.door is not None
    first = plane.door.pid
    assert first is not None
    obstacle = plane.folder / "envoy-2.json"
    obstacle.mkdir()

    if reason == "it was killed":
        os.kill(first, signal.SIGKILL)
    else:
        plane.door.replace()
    await tended_until(plane.door, lambda: "Starting the gRPC door's Envoy failed" in caplog.text)
    obstacle.rmdir()
    await tended_until(plane.door, lambda: plane.door is not None and plane.door.pid not in {None, first})
    await asyncio.to_thread(plane.door.wait_ready)

    assert await answers(plane.grpc)
    assert caplog.text.count("Starting the gRPC door's Envoy failed") == 1


async def test_a_killed_router_costs_no_call(plane: DataPlane, valkey_socket: Path) -> None:
    """Whatever it had is sent again to another: an inference changes nothing, so it may be made twice."""
    running = routers(
        plane.settings, f"unix://{valkey_socket}", [replica.endpoint for replica in plane.replicas.values()]
    )
    with running("router-2") as router:
        async with load(plane.grpc, clients=16):
            await until(lambda: logged_bytes(plane, "router-2") > 20_000)
            router.kill()
            await asyncio.to_thread(router.join)

        with running("router-3"):
            async with load(plane.grpc, clients=16):
                await until(lambda: logged_bytes(plane, "router-3") > 20_000)


async def test_without_routers_calls_are_unavailable_at_once(valkey_socket: Path) -> None:
    """And the door is up again when the first of them is."""
    url = f"unix://{valkey_socket}"
    async with running_data_plane(url) as plane:
        replica = await plane.add_replica(1, EchoBackend())
        http_port, grpc_port = free_ports(2)
        settings = replace(plane.settings, http_port=http_port, grpc_port=grpc_port, grpc_door="envoy")
        address = f"127.0.0.1:{grpc_port}"
        with running_door(settings, Layout(plane.folder, plane.folder)) as door:
            await until(lambda: listens(grpc_port))
            assert not await answers(address)

            with routers(settings, url, [replica.endpoint])("router-2"):
                await asyncio.to_thread(door.wait_ready)
                assert await answers(address)

            assert not await answers(address)


async def test_a_taken_port_is_an_error_that_says_so(plane: DataPlane, tmp_path: Path) -> None:
    """With the end of what Envoy printed."""
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        settings = replace(plane.settings, grpc_port=owner.getsockname()[1])
        with running_door(settings, Layout(tmp_path, tmp_path)) as door, pytest.raises(EnvoyFailed) as failure:
            await asyncio.to_thread(door.wait_ready)

    assert "Address already in use" in str(failure.value)
    assert str(tmp_path / "logs" / "envoy.log") in str(failure.value)


async def test_what_the_door_says_of_itself_is_private(plane: DataPlane) -> None:
    """Its admin interface is a Unix socket, and that and its configuration are its owner's alone."""
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in plane.folder.glob("envoy-*")}

    assert modes == {"envoy-1.json": 0o600, "envoy-1.sock": 0o600}


async def test_mutual_tls_lets_in_who_shows_a_certificate(valkey_socket: Path, tmp_path: Path) -> None:
    """The server proves itself, and so must the client; others are hung up on."""
    made = make_certificates(tmp_path)
    server: Any = {"tls_certificate": made.certificate, "tls_key": made.key, "tls_client_ca": made.authority}
    trusted = made.authority.read_bytes()
    known = grpc.ssl_channel_credentials(trusted, made.client_key.read_bytes(), made.client_certificate.read_bytes())
    unknown = grpc.ssl_channel_credentials(trusted)
    async with running_data_plane(f"unix://{valkey_socket}", grpc_door="envoy", **server) as plane:
        await plane.add_replica(1, EchoBackend())
        await plane.set_policy(variants=ONE)

        async with grpc.aio.secure_channel(plane.grpc, known) as channel:
            assert row_of(await unary(channel)(infer_message(1, 2, 3, 4))) == struct.pack("<4f", 1, 2, 3, 4)
        assert not await answers(plane.grpc)
        async with grpc.aio.secure_channel(plane.grpc, unknown) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await unary(channel)(infer_message(1, 2, 3, 4))
            assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_renewed_certificates_are_met_by_new_connections(valkey_socket: Path, tmp_path: Path) -> None:
    """The door notices that their files changed and replaces itself."""
    made = make_certificates(tmp_path)
    server: Any = {"tls_certificate": made.certificate, "tls_key": made.key}
    async with running_data_plane(f"unix://{valkey_socket}", grpc_door="envoy", **server) as plane:
        await plane.add_replica(1, EchoBackend())
        await plane.set_policy(variants=ONE)
        assert plane.door is not None
        first = plane.door.pid
        authority = renew_certificates(made)

        await tended_until(plane.door, lambda: plane.door is not None and plane.door.pid not in {None, first})

        async with grpc.aio.secure_channel(
            plane.grpc, grpc.ssl_channel_credentials(authority.read_bytes()), [("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            assert row_of(await unary(channel)(infer_message(1, 2, 3, 4), wait_for_ready=True, timeout=10))


async def test_an_operators_wish_replaces_the_door_and_is_recorded(plane: DataPlane) -> None:
    """Once for each wish; who asked learns of it from the node's record."""
    assert plane.door is not None
    layout, asked, first = Layout(plane.folder, plane.folder), threading.Event(), plane.door.pid
    (plane.folder / "run").mkdir()
    address = "http://127.0.0.1:1"
    record = NodeRecord(os.getpid(), address, plane.grpc, address, address, started_at=0.0, door_pid=first)
    renewal = Renewal(layout, record, asked)

    async with load(plane.grpc):
        asked.set()

        def is_done() -> bool:
            assert plane.door is not None
            renewal.tend(plane.door)
            return plane.door.pid != first and plane.door.is_settled

        await until(is_done)

    assert not asked.is_set()
    assert find_node(plane.folder).door_pid == plane.door.pid
