"""What nobody has foreseen costs the request that meets it, and says so; never its connection, nor its neighbours."""

from __future__ import annotations

import json
import zlib
from typing import Any, NoReturn

import pytest

from router.gateway.dispatch.call import Call
from serving.protocol.errors import invalid
from tests.data_plane import MODEL, DataPlane
from tests.raw_http import RawPeer, echoed, infer_body, request

pytestmark = pytest.mark.asyncio

INFER = f"/v2/models/{MODEL}/infer"


def out_of_memory(*_: object) -> NoReturn:
    raise MemoryError


#: Every step of a request on the event loop, and the function that stands for it.
STEPS = {
    "unwrap": "router.gateway.http.wire.V2Wire.unwrap",
    "expand": "router.gateway.http.exchange.decompress",
    "decode": "router.gateway.http.wire.V2Wire.decode",
    "decide": "router.gateway.dispatch.dispatcher.decide",
    "pack": "router.gateway.dispatch.packing.pack_tensors",
    "submit": "router.gateway.dispatch.pool.VersionPool.submit",
    "send": "serving.channel.client.ReplicaChannel.send",
    "encode": "router.gateway.http.wire._encode_outputs",
}


@pytest.mark.parametrize("step", STEPS)
async def test_a_defect_is_answered_and_recorded(
    plane: DataPlane,
    peer: RawPeer,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """500 in the protocol's shape, and a line in the log; the connection goes on, and the request holds no place."""
    body, headers = infer_body(1, 0, 0, 0), ["content-encoding: gzip"] if step == "expand" else []
    if step == "expand":
        body = zlib.compress(body, wbits=31)
    with monkeypatch.context() as patch:
        patch.setattr(STEPS[step], out_of_memory)
        await peer.send(request(INFER, body, *headers))
        failed = await peer.answer()

    assert failed.status == 500
    assert set(failed.json()) == {"error"}
    assert failed.headers["x-shepherd-request-id"] in caplog.text
    assert plane.gateway._dispatcher.in_flight == 0
    await peer.send(request(INFER, infer_body(7, 0, 0, 0)))
    assert (await echoed(peer))[0] == 7
    assert [record.outcome for record in plane.records()] == ["internal", "ok"]


async def test_an_answer_that_cannot_be_recorded_still_leaves(
    plane: DataPlane, peer: RawPeer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log's defect is the log's: nobody waits for ever, and the replica's connection goes on."""
    with monkeypatch.context() as patch:
        patch.setattr("router.gateway.dispatch.dispatcher.record_call", out_of_memory)
        await peer.send(request(INFER, infer_body(3, 0, 0, 0)))
        assert (await echoed(peer))[0] == 3

    assert "Cannot record" in caplog.text
    await peer.send(request(INFER, infer_body(7, 0, 0, 0)))
    assert (await echoed(peer))[0] == 7


@pytest.mark.parametrize("rows", [100, 1000], ids=["on the loop", "in a thread"])
async def test_an_answer_that_cannot_be_compressed_goes_as_it_is(
    peer: RawPeer, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compression is a favour."""
    monkeypatch.setattr("router.gateway.http.exchange.compress_answer", out_of_memory)
    tensor: dict[str, Any] = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [0.25] * 4 * rows}

    await peer.send(request(INFER, json.dumps({"inputs": [tensor]}).encode(), "accept-encoding: gzip"))

    answer = await peer.answer()
    assert "content-encoding" not in answer.headers
    assert answer.json()["outputs"][0]["data"] == tensor["data"]


class Leaving:
    """A door whose answers cannot always be sent."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.released = False

    def answer(self, call: Call) -> None: ...

    def release(self, call: Call) -> None:
        self.released = True
        if self.fails:
            out_of_memory()


async def test_an_answer_that_cannot_be_sent_holds_up_none_beside_it(plane: DataPlane) -> None:
    """What is settled together is released together, and nobody would release the others later."""
    doors = [Leaving(fails=True), Leaving(fails=False)]
    dispatcher = plane.gateway._dispatcher
    for number, door in enumerate(doors):
        call = Call(
            door, id=str(number), protocol="http", model="", request=None, headers={}, started=0.0, deadline=1e9
        )
        dispatcher.refuse(call, invalid("nonsense"))

    dispatcher._release()

    assert all(door.released for door in doors)
