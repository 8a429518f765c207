"""What a gRPC client sees does not depend on who ends gRPC: Envoy or grpc.aio.

The protocol itself (metadata, deadlines, streams, health, reflection) is specified for both in
`tests/integration/test_grpc_door.py`; here are the edges at which two implementations of gRPC differ.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from serving.backends.echo import EchoBackend, EchoOptions
from serving.protocol.messages import TensorSpec
from serving.protocol.pb import open_inference_pb2 as pb
from tests.data_plane import DataPlane, running_data_plane
from tests.grpc_calls import infer_message, message_of_size, row_of, unary

pytestmark = pytest.mark.asyncio

LIMIT = 1 << 20
ONE = [{"name": "stable", "version": 1, "weight": 10_000}]
ANY_SIZE = EchoOptions(inputs=(TensorSpec("x", "FP32", (-1, -1)),))


@pytest_asyncio.fixture(params=["aio", "envoy"])
async def plane(valkey_socket: Path, request: pytest.FixtureRequest) -> AsyncIterator[DataPlane]:
    """An echo model that takes rows of any length, behind either door."""
    url = f"unix://{valkey_socket}"
    async with running_data_plane(url, grpc_door=request.param, max_body_bytes=LIMIT, request_timeout_s=10) as running:
        await running.add_replica(1, EchoBackend(ANY_SIZE))
        await running.set_policy(variants=ONE)
        yield running


@pytest_asyncio.fixture
async def channel(plane: DataPlane) -> AsyncIterator[grpc.aio.Channel]:
    """A connection with no limit of its own on messages."""
    async with grpc.aio.insecure_channel(plane.grpc, [("grpc.max_receive_message_length", -1)]) as connected:
        yield connected


async def refusal(channel: grpc.aio.Channel, message: bytes, **options: object) -> grpc.aio.AioRpcError:
    """Make a call that fails, and then one that does not: a refusal costs the call and not its connection."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await unary(channel)(message, **options)
    assert row_of(await unary(channel)(infer_message(1))) == struct.pack("<f", 1)
    return failure.value


@pytest.mark.parametrize(
    "model", ["naïve", "50%", "two\nlines\r", "a%0Ab", "\u6a21\u578b \U0001f411", 'quo"te\\', "\x7f\x00\t"]
)
async def test_a_message_of_a_status_arrives_as_it_was_written(channel: grpc.aio.Channel, model: str) -> None:
    """Whatever characters it has: they are percent-encoded on the wire, and nowhere else."""
    error = await refusal(channel, infer_message(1, model=model))

    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == f'unknown model "{model}"'
    assert dict(error.initial_metadata())["x-shepherd-request-id"]


async def test_a_long_message_of_a_status_does_not_hide_the_status(channel: grpc.aio.Channel) -> None:
    """Clients refuse metadata beyond some kilobytes, and would report that instead."""
    error = await refusal(channel, infer_message(1, model="\u6a21" * 20_000))

    assert error.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("count", [1, 4096])
async def test_requests_may_be_compressed(channel: grpc.aio.Channel, compression: grpc.Compression, count: int) -> None:
    """Also by a client that leaves alone the messages which would not shrink, and marks each one."""
    answer = await unary(channel)(infer_message(*[1.0] * count), compression=compression)

    assert row_of(answer) == struct.pack("<f", 1) * count


async def test_a_message_over_the_limit_is_refused_by_what_it_is_or_grows_to(channel: grpc.aio.Channel) -> None:
    """RESOURCE_EXHAUSTED, whether it is sent as it is or compressed to a thousandth; the client may go on."""
    bomb = infer_message(*[0.0] * LIMIT)

    errors = [await refusal(channel, bomb), await refusal(channel, bomb, compression=grpc.Compression.Gzip)]

    assert {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_the_limit_is_the_same_to_the_byte(channel: grpc.aio.Channel) -> None:
    """It is one on the message, whatever frames it on its way."""
    assert row_of(await unary(channel)(message_of_size(LIMIT)))

    assert (await refusal(channel, message_of_size(LIMIT + 1))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_large_tensors_go_through_whole(channel: grpc.aio.Channel) -> None:
    """Up to the limit, in both directions at once."""
    message = pb.ModelInferRequest(model_name="m")
    message.inputs.add(name="x", datatype="FP32", shape=[1, 240_000])
    message.raw_input_contents.append(bytes(range(256)) * 3750)
    calls = [unary(channel)(message.SerializeToString()) for _ in range(8)]

    answers = await asyncio.gather(*calls)

    assert [row_of(answer) for answer in answers] == [message.raw_input_contents[0]] * 8


async def test_one_connection_carries_many_calls(plane: DataPlane, channel: grpc.aio.Channel) -> None:
    """Far more than may be open at once, each with its own answer."""
    answers = await asyncio.gather(*(unary(channel)(infer_message(float(number))) for number in range(1200)))

    assert [row_of(answer) for answer in answers] == [struct.pack("<f", number) for number in range(1200)]


@pytest.mark.parametrize("method", ["/inference.GRPCInferenceService/Nope", "/no.Service/ModelInfer", "/x"])
async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel, method: str) -> None:
    """As gRPC has it."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await unary(channel, method)(b"")

    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(("size", "count"), [(40_000, 1), (10_000, 10)])
async def test_too_much_metadata_costs_the_call_alone(channel: grpc.aio.Channel, size: int, count: int) -> None:
    """It is refused for what it is; up to the limit it goes through."""
    assert await unary(channel)(infer_message(1), metadata=(("x-large", "x" * 30_000),))

    error = await refusal(channel, infer_message(1), metadata=(("x-large", "x" * size),) * count)

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_clients_cannot_steer_what_stands_in_the_way(channel: grpc.aio.Channel) -> None:
    """Headers that mean something to a proxy mean nothing from outside."""
    steering = (
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-original-path", "/inference.GRPCInferenceService/ServerLive"),
        ("x-envoy-max-retries", "1000"),
        ("content-encoding", "gzip"),
        ("accept-encoding", "gzip"),
        ("connection-type", "close"),
    )

    # A deadline of a millisecond would be kept by many of them, not by all.
    answers = await asyncio.gather(
        *(unary(channel)(infer_message(*[1.0] * 1000), metadata=steering) for _ in range(100))
    )

    assert {row_of(answer) for answer in answers} == {struct.pack("<f", 1) * 1000}


async def test_what_is_not_grpc_is_refused(plane: DataPlane) -> None:
    """A client that speaks HTTP/1.1 to the port is hung up on, or told so, and hurts nobody."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.settings.grpc_port)
    writer.write(b"POST /inference.GRPCInferenceService/ModelInfer HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()

    assert b"200 OK" not in answer
    async with grpc.aio.insecure_channel(plane.grpc) as channel:
        assert row_of(await unary(channel)(infer_message(1))) == struct.pack("<f", 1)
