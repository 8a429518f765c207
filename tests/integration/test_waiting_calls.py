"""Calls that came before their replica did, on a real tensor channel."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from router.gateway.dispatch.call import Call
from router.gateway.dispatch.pool import VersionPool
from serving.channel.client import ReplicaChannel
from serving.channel.endpoint import Endpoint
from serving.channel.frames import Frame, Kind, result_head
from serving.channel.server import ChannelServer, Connection
from serving.protocol.messages import Signature
from tests.valkey import short_folder

TOKEN = b"secret"


class Nowhere:
    """A door that nobody stands behind."""

    def answer(self, call: Call) -> None:
        pass

    def release(self, call: Call) -> None:
        pass


class Answered:
    """Notes that a call was answered; fits `PoolOwner`."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.unsent: list[Call] = []

    now = staticmethod(time.monotonic)

    def on_answers(self, answers: list[tuple[Call, Frame]]) -> None:
        self.event.set()

    def on_lost_calls(self, calls: list[Call]) -> None:
        raise AssertionError("the replica is there")

    def on_unsent(self, call: Call, error: Exception) -> None:
        self.unsent.append(call)


class GreetedEarly(ReplicaChannel[Call]):
    """A channel whose `connect` returns only when the replica's greeting is there, as it does on a busy machine."""

    async def connect(self) -> None:
        await super().connect()
        while not self.ready:
            await asyncio.sleep(0)


def answer(connection: Connection, frame: Frame) -> None:
    if frame.kind == Kind.INFER:
        connection.send([result_head(frame.call_id, 0, 1, 0, 0)])


def a_call() -> Call:
    now = time.monotonic()
    return Call(Nowhere(), id="1", protocol="http", model="m", request=None, headers={}, started=now, deadline=now + 30)


@pytest.mark.asyncio
@pytest.mark.parametrize("channel", [ReplicaChannel, GreetedEarly], ids=["greeted after", "greeted before"])
async def test_a_call_that_waits_goes_out_when_its_replica_comes(
    channel: type[ReplicaChannel[Call]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the replica's greeting comes after the connection was noticed or before."""
    monkeypatch.setattr("router.gateway.dispatch.pool.ReplicaChannel", channel)
    server = ChannelServer(token=TOKEN, max_in_flight=4, on_frame=answer, on_lost=lambda _: None)
    answered = Answered()
    pool = VersionPool(answered, token=TOKEN)
    with short_folder() as folder:
        socket = str(Path(folder) / "replica.sock")
        await server.listen(socket)
        pool.submit(a_call())
        assert pool.waiting

        pool.set_endpoints([Endpoint("r-1", socket, "node", 1, Signature((), ()), 4)])

        await asyncio.wait_for(answered.event.wait(), 10)
        await pool.close()
        await server.close()


@pytest.mark.asyncio
async def test_a_call_that_no_frame_can_hold_harms_no_other() -> None:
    """It is settled alone and takes no credit, whether it waited or not; those behind it are answered."""
    server = ChannelServer(token=TOKEN, max_in_flight=1, on_frame=answer, on_lost=lambda _: None)
    answered = Answered()
    pool = VersionPool(answered, token=TOKEN)
    waited, sent, good = a_call(), a_call(), a_call()
    waited.extra = sent.extra = b"x" * 70_000
    with short_folder() as folder:
        socket = str(Path(folder) / "replica.sock")
        await server.listen(socket)
        pool.submit(waited)
        pool.submit(good)
        pool.set_endpoints([Endpoint("r-1", socket, "node", 1, Signature((), ()), 4)])

        await asyncio.wait_for(answered.event.wait(), 10)
        pool.submit(sent)

        assert answered.unsent == [waited, sent]
        assert pool.in_flight == 0
        await pool.close()
        await server.close()


@pytest.mark.asyncio
async def test_a_call_that_a_replica_refused_goes_to_another() -> None:
    """Though the one that refuses looks the less loaded: it stops, and its connection is about to end."""
    sent_to: list[str] = []
    replicas = {}
    for name in "ab":
        replicas[name] = ChannelServer(
            token=TOKEN,
            max_in_flight=4,
            on_frame=lambda connection, frame, name=name: sent_to.append(name),  # type: ignore[misc]
            on_lost=lambda _: None,
        )
    pool = VersionPool(Answered(), token=TOKEN)
    with short_folder() as folder:
        sockets = {name: str(Path(folder) / f"{name}.sock") for name in replicas}
        for name, server in replicas.items():
            await server.listen(sockets[name])
        pool.set_endpoints([Endpoint(name, sockets[name], "node", 1, Signature((), ()), 4) for name in replicas])
        async with asyncio.timeout(10):
            while len([channel for channel in pool._channels if channel.ready]) < 2:
                await asyncio.sleep(0)
            refusing = pool._channels[0]

            for _ in range(4):
                pool.submit(a_call(), elsewhere_than=refusing)
            while len(sent_to) < 4:
                await asyncio.sleep(0)

        assert refusing.endpoint.replica_id not in sent_to
        await pool.close()
        for server in replicas.values():
            await server.close()
