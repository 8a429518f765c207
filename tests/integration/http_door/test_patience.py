"""Slow, silent and vanishing clients cost nobody else anything."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.data_plane import MODEL, DataPlane, running_data_plane
from tests.held_backend import HeldBackend
from tests.raw_http import RawPeer, echoed, infer_body, raw_peer, request
from tests.waiting import until

pytestmark = pytest.mark.asyncio

INFER = f"/v2/models/{MODEL}/infer"
ONE = [{"name": "stable", "version": 1, "weight": 10_000}]


async def test_an_idle_connection_is_closed(peer: RawPeer) -> None:
    """After `keep_alive_s`, before and after a request."""
    await peer.send(request("/v2/health/live", method="GET"))
    assert (await peer.answer()).status == 200

    assert await peer.is_closed()


@pytest.mark.parametrize("start", [
    b"POST " + INFER.encode() + b" HTTP/1.1\r\nhost: h\r\nx-slow",
    request(INFER, b"{", "content-length: 100"),
    request("/v2/repository/index", b"{", "content-length: 100"),
])  # fmt: skip
async def test_a_request_that_trickles_in_is_ended_and_blocks_nobody(
    plane: DataPlane, peer: RawPeer, start: bytes
) -> None:
    """408 although a byte comes now and then: patience is for the whole request (slowloris)."""
    await peer.send(start)

    async def trickle() -> None:
        while True:
            await asyncio.sleep(0.2)
            await peer.send(b"a")

    trickling = asyncio.create_task(trickle())
    assert (await plane.infer([0, 0, 0, 0])).status_code == 200
    answer = await peer.answer()
    trickling.cancel()

    assert answer.status == 408
    assert answer.headers["connection"] == "close"


async def test_a_client_that_does_not_read_blocks_nobody(plane: DataPlane) -> None:
    """Its answers wait in its own socket while others are served."""
    async with raw_peer(plane.settings.http_port) as deaf:
        await deaf.send(*[request(INFER, infer_body(*range(4))) for _ in range(200)])
        assert (await plane.infer([1, 2, 3, 4])).json()["outputs"][0]["data"] == [1, 2, 3, 4]


async def test_a_client_that_asks_on_and_never_reads_is_cut_off(plane: DataPlane) -> None:
    """Nothing more is read or begun while its answers wait; and an answer that is added is no sign of its reading."""
    tensor = {"name": "x", "shape": [500, 4], "datatype": "FP32", "data": [0.123] * 2000}
    asking = request(INFER, json.dumps({"inputs": [tensor]}).encode())
    _, writer = await asyncio.open_connection("127.0.0.1", plane.settings.http_port)
    transport: Any = writer.transport  # the stubs know only that it writes
    transport.pause_reading()

    async def ask(most_bytes: int) -> None:
        for _ in range(most_bytes // len(asking)):
            writer.write(asking)
            await writer.drain()

    with pytest.raises(ConnectionError):
        await ask(200_000_000)  # many times what the kernel's buffers hold
    writer.close()

    assert (await plane.infer([1, 2, 3, 4])).status_code == 200
    assert plane.gateway.in_flight == 0


async def test_a_client_that_reads_late_gets_all_its_answers(plane: DataPlane) -> None:
    """In order, and a request that is whole waits its turn like one that is still coming in."""
    tensor = {"name": "x", "shape": [500, 4], "datatype": "FP32"}
    asked = [request(INFER, json.dumps({"inputs": [{**tensor, "data": [i] * 2000}]}).encode()) for i in range(300)]
    async with raw_peer(plane.settings.http_port) as peer:
        sending = asyncio.create_task(peer.send(*asked, request("/v2/health/live", method="GET")))

        for i in range(300):
            assert (await echoed(peer))[-1] == i
        assert (await peer.answer()).status == 200
        await sending


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing_behind(plane: DataPlane) -> None:
    """No call, no record, no connection."""
    async with raw_peer(plane.settings.http_port) as peer:
        await peer.send(request(INFER, b'{"inputs"', "content-length: 1000"))
    assert (await plane.infer([0, 0, 0, 0])).status_code == 200

    assert plane.gateway.in_flight == 0
    assert len(plane.records()) == 1


async def test_closing_answers_what_is_in_flight(valkey_socket: Path) -> None:
    """A stopping router finishes each exchange, pipelined ones included, and says `connection: close`."""
    async with running_data_plane(f"unix://{valkey_socket}") as plane:
        backend = HeldBackend()
        await plane.add_replica(1, backend)
        await plane.set_policy(variants=ONE)
        async with raw_peer(plane.settings.http_port) as peer:
            with backend.held():
                await peer.send(request(INFER, infer_body(1, 0, 0, 0)) + request(INFER, infer_body(2, 0, 0, 0)))
                await until(lambda: plane.gateway.in_flight)
                closing = asyncio.create_task(plane.gateway._http.close())
                await asyncio.sleep(0)

            answers = [await peer.answer(), await peer.answer()]
            assert [answer.status for answer in answers] == [200, 200]
            assert await peer.is_closed()
            await closing
