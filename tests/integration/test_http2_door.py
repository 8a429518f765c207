"""The router's end of Envoy's connections: many calls on one, each by itself, and nothing that a peer sends hurts."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from router.gateway.http.http2 import frames
from router.gateway.http.http2.connection import MAX_STREAMS
from router.gateway.http.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    frame,
    write_u32,
)
from router.gateway.http.http2.headers import header
from router.layout import Layout
from serving.backends.echo import EchoBackend, EchoOptions
from serving.protocol.messages import TensorSpec
from serving.protocol.pb import open_inference_pb2 as pb
from tests.data_plane import DataPlane, running_data_plane
from tests.grpc_calls import infer_message, message_of_size, row_of
from tests.http2_frames import call, call_head, framed, http2_peer
from tests.waiting import until

pytestmark = pytest.mark.asyncio

LIMIT = 1 << 20
ANY_SIZE = EchoOptions(inputs=(TensorSpec("x", "FP32", (-1, -1)),))


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """An echo model that takes rows of any length; Envoy stands beside and is not asked."""
    url = f"unix://{valkey_socket}"
    async with running_data_plane(url, grpc_door="envoy", max_body_bytes=LIMIT, request_timeout_s=2) as running:
        await running.add_replica(1, EchoBackend(ANY_SIZE))
        await running.set_policy(variants=[{"name": "stable", "version": 1, "weight": 10_000}])
        yield running


@pytest.fixture
def socket(plane: DataPlane) -> Path:
    return Layout(plane.folder, plane.folder).infer_socket(0)


async def test_calls_that_come_in_one_read_are_answered_each(socket: Path) -> None:
    """On their own streams, with their own data."""
    async with http2_peer(socket) as peer:
        await peer.send(*[call(number, infer_message(number)) for number in range(1, 101, 2)])

        rows = {}
        for _ in range(1, 101, 2):
            _, _, number, _ = await peer.frame(HEADERS)
            _, _, same, body = await peer.frame(DATA)
            _, flags, again, _ = await peer.frame(HEADERS)
            assert number == same == again
            assert flags & END_STREAM
            rows[number] = row_of(body[5:])

    assert rows == {number: struct.pack("<f", number) for number in range(1, 101, 2)}


async def test_an_answer_says_who_gave_it_and_how_it_went(socket: Path) -> None:
    """In headers and trailers, as gRPC has it; a failing call fails alone."""
    async with http2_peer(socket) as peer:
        await peer.send(call(1, infer_message(1)))
        good, _, status = await peer.answer(1)
        await peer.send(call(3, infer_message(1, model="nope")))
        bad, body, failed = await peer.answer(3)

    assert good["content-type"] == bad["content-type"] == "application/grpc"
    assert good["x-shepherd-version"] == "1"
    assert status == {"grpc-status": "0"}
    assert (body, failed["grpc-status"]) == (b"", "5")
    assert "nope" in failed["grpc-message"]


@pytest.mark.parametrize("field", ["inputs", "outputs", "sequence_id", "sequence_start"])
async def test_a_name_that_is_too_long_is_refused_and_its_neighbours_are_answered(
    plane: DataPlane, socket: Path, field: str
) -> None:
    """At once, by the name of its field: many clients share the connection, and the replica's credits."""
    long = pb.ModelInferRequest.FromString(infer_message(3))
    if field == "inputs":
        long.inputs[0].name = "x" * 70_000
    elif field == "outputs":
        long.outputs.add(name="x" * 70_000)
    else:
        long.parameters[field].string_param = "x" * 70_000
    async with http2_peer(socket) as peer:
        await peer.send(call(1, infer_message(1)) + call(3, long.SerializeToString()) + call(5, infer_message(5)))

        refused, good, too = [(await peer.answer(number))[2] for number in (3, 1, 5)]

    assert refused["grpc-status"] in {"3", "8"}  # wrong for ever, or too large
    assert field in refused["grpc-message"]
    assert good == too == {"grpc-status": "0"}
    assert plane.gateway.in_flight == 0


async def test_the_clients_deadline_reaches_the_router(plane: DataPlane, socket: Path) -> None:
    """Not only the client's own clock ends a call: its router stops waiting, too."""
    await plane.remove_replica(1, abruptly=True)
    async with http2_peer(socket) as peer:
        await peer.send(call(1, infer_message(1), grpc_timeout="50m"))

        assert (await peer.answer(1))[2]["grpc-status"] == "4"


async def test_a_reset_cancels_its_call_and_no_other(plane: DataPlane, socket: Path) -> None:
    """Down to the record of it."""
    await plane.remove_replica(1, abruptly=True)
    async with http2_peer(socket) as peer:
        await peer.send(call(1, infer_message(1)), call(3, infer_message(3)))
        while plane.gateway.in_flight < 2:
            await asyncio.sleep(0.001)
        await peer.send(frame(RST_STREAM, 0, 1, write_u32(frames.CANCEL)))
        while plane.gateway.in_flight > 1:
            await asyncio.sleep(0.001)
        await plane.add_replica(1, EchoBackend(ANY_SIZE))

        assert row_of((await peer.answer(3))[1][5:]) == struct.pack("<f", 3)
    assert [record.outcome for record in plane.records()] == ["cancelled", "ok"]


async def test_a_lost_connection_cancels_all_its_calls(plane: DataPlane, socket: Path) -> None:
    """Nobody is there to answer."""
    await plane.remove_replica(1, abruptly=True)
    async with http2_peer(socket) as peer:
        await peer.send(call(1, infer_message(1)), call(3, infer_message(3)))
        while plane.gateway.in_flight < 2:
            await asyncio.sleep(0.001)
    await until(lambda: not plane.gateway.in_flight)

    assert {record.outcome for record in plane.records()} == {"cancelled"}


@pytest.mark.parametrize("extra_bytes", [0, 1])
async def test_the_limit_is_exact_to_the_byte(socket: Path, extra_bytes: int) -> None:
    """Of the message, not of what frames it; a refusal does not wait for the rest."""
    message = message_of_size(LIMIT + extra_bytes)
    body = framed(message)
    pieces = [body[start : start + 16_384] for start in range(0, len(body), 16_384)]
    async with http2_peer(socket, {frames.SETTING_WINDOW: 1 << 24}) as peer:
        await peer.send(frame(frames.WINDOW_UPDATE, 0, 0, write_u32(1 << 24)))
        await peer.send(frame(HEADERS, END_HEADERS, 1, call_head()), *[frame(DATA, 0, 1, piece) for piece in pieces])
        if not extra_bytes:
            await peer.send(frame(DATA, END_STREAM, 1))

        assert (await peer.answer(1))[2]["grpc-status"] == ("8" if extra_bytes else "0")


async def test_too_much_metadata_is_refused(socket: Path) -> None:
    """In one frame or, as large blocks come, in several; the connection goes on."""
    block = call_head(x_large="x" * 40_000)
    async with http2_peer(socket) as peer:
        await peer.send(
            frame(HEADERS, 0, 1, block[:16_000]),
            frame(frames.CONTINUATION, 0, 1, block[16_000:32_000]),
            frame(frames.CONTINUATION, END_HEADERS, 1, block[32_000:]),
            frame(DATA, END_STREAM, 1, framed(infer_message(1))),
        )

        assert (await peer.answer(1))[2]["grpc-status"] == "8"
        await peer.send(call(3, infer_message(3)))
        assert (await peer.answer(3))[2]["grpc-status"] == "0"


async def test_a_large_answer_waits_for_room_and_does_not_hold_up_others(socket: Path) -> None:
    """It is cut at the edge of the peer's window; small ones go past it."""
    row = [1.0] * 100_000
    async with http2_peer(socket) as peer:
        await peer.send(*_whole(1, infer_message(*row)))
        body = b""
        await peer.frame(HEADERS)
        while len(body) < frames.FIRST_WINDOW:
            body += (await peer.frame(DATA))[3]
        await peer.send(frame(PING, 0, 0, b"12345678"))
        assert (await peer.frame())[0] == PING  # nothing more of the answer came before
        await peer.send(frame(frames.WINDOW_UPDATE, 0, 0, write_u32(1 << 20)), call(3, infer_message(3)))
        assert (await peer.answer(3))[2]["grpc-status"] == "0"
        await peer.send(frame(frames.WINDOW_UPDATE, 0, 1, write_u32(1 << 20)))
        ends = False
        while not ends:
            kind, flags, _, payload = await peer.frame(DATA, HEADERS)
            body += payload if kind == DATA else b""
            ends = bool(flags & END_STREAM)

    assert row_of(body[5:]) == struct.pack("<f", 1) * len(row)


def _whole(stream: int, message: bytes) -> list[bytes]:
    body = framed(message)
    pieces = [body[start : start + 16_384] for start in range(0, len(body), 16_384)]
    parts = [frame(HEADERS, END_HEADERS, stream, call_head()), *[frame(DATA, 0, stream, piece) for piece in pieces]]
    return [*parts, frame(DATA, END_STREAM, stream)]


async def test_a_call_that_comes_in_too_slowly_is_refused(socket: Path) -> None:
    """After the time that a request may take, whoever else uses the connection."""
    async with http2_peer(socket) as peer:
        await peer.send(frame(HEADERS, END_HEADERS, 1, call_head()), frame(DATA, 0, 1, b"\0"))
        await peer.send(call(3, infer_message(3)))
        assert (await peer.answer(3))[2]["grpc-status"] == "0"

        assert (await peer.answer(1))[2]["grpc-status"] == "4"


async def test_more_streams_than_allowed_are_refused_untouched(plane: DataPlane, socket: Path) -> None:
    """So that Envoy may send them elsewhere."""
    await plane.remove_replica(1, abruptly=True)
    async with http2_peer(socket) as peer:
        await peer.send(*[call(2 * number + 1, infer_message(1)) for number in range(MAX_STREAMS + 1)])

        _, _, stream, code = await peer.frame(RST_STREAM)

    assert (stream, code) == (2 * MAX_STREAMS + 1, write_u32(frames.REFUSED_STREAM))


async def test_what_is_no_inference_is_not_found_and_liveness_is(socket: Path) -> None:
    """Envoy asks for the one path and sends nothing else this way."""
    get = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82" + header(":path", "/v2/health/live"))
    other = frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\x83" + header(":path", "/x"))
    async with http2_peer(socket) as peer:
        await peer.send(get, other)

        assert (await peer.frame(HEADERS))[2:] == (1, b"\x20\x88")
        assert (await peer.frame(HEADERS))[2:] == (3, b"\x8d")


@pytest.mark.parametrize(
    "broken",
    [
        frame(DATA, 0, 1, b"?"),  # of a stream that was not opened
        frame(HEADERS, END_HEADERS, 2, call_head()),
        frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        frame(HEADERS, 0, 1, call_head()) + frame(DATA, 0, 1, b"?"),  # a block interrupted
        frame(HEADERS, 0, 1, b"") + frame(frames.CONTINUATION, 0, 1) * 100,
        frame(frames.CONTINUATION, END_HEADERS, 1, call_head()),
        call(1, infer_message(1)) + frame(DATA, END_STREAM, 1, b"more"),
        frame(frames.WINDOW_UPDATE, 0, 0, write_u32(0)),
        frame(frames.SETTINGS, 0, 0, b"odd"),
        frame(frames.PUSH_PROMISE, 0, 1),
        frame(0xFF, 0, 0, b"") + frame(DATA, frames.PADDED, 1, b"\x00"),
    ],
)  # fmt: skip
async def test_a_broken_peer_loses_its_connection_and_nothing_else(socket: Path, broken: bytes) -> None:
    """It is told why; others are served."""
    async with http2_peer(socket) as peer, http2_peer(socket) as other:
        await peer.send(broken)
        assert (await peer.frame(GOAWAY))[3][4:] != write_u32(frames.NO_ERROR)
        assert await peer.is_closed()

        await other.send(call(1, infer_message(1)))
        assert (await other.answer(1))[2]["grpc-status"] == "0"


async def test_a_router_that_closes_answers_what_it_has_and_takes_nothing_new(plane: DataPlane, socket: Path) -> None:
    """It says so first; what crosses that word is refused untouched."""
    await plane.remove_replica(1, abruptly=True)
    async with http2_peer(socket) as peer:
        await peer.send(call(1, infer_message(1)))
        await until(lambda: plane.gateway.in_flight)
        closing = asyncio.create_task(plane.gateway.close())
        assert (await peer.frame(GOAWAY))[3] == write_u32(1) + write_u32(frames.NO_ERROR)
        await peer.send(call(3, infer_message(3)))
        assert (await peer.frame(RST_STREAM))[2:] == (3, write_u32(frames.REFUSED_STREAM))
        await plane.add_replica(1, EchoBackend(ANY_SIZE))

        assert (await peer.answer(1))[2]["grpc-status"] == "0"
        assert await peer.is_closed()
        await closing
