"""What a router that stops owes its clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from router.gateway.dispatch.call import Call
from serving.channel.endpoint import Endpoint
from serving.channel.server import ChannelServer
from serving.protocol.arrays import to_tensor
from serving.protocol.messages import InferRequest, Signature
from serving.protocol.pb import open_inference_pb2 as pb
from serving.telemetry.metrics_app import scrape
from tests.data_plane import MODEL, TOKEN, DataPlane, running_data_plane
from tests.grpc_calls import infer_message, unary
from tests.raw_http import infer_body, raw_peer, request

pytestmark = pytest.mark.asyncio

HALVES = [{"name": "silent", "version": 1, "weight": 5_000}, {"name": "gone", "version": 2, "weight": 5_000}]


class Nowhere:
    """A door that leads nowhere."""

    def answer(self, call: Call) -> None: ...

    def release(self, call: Call) -> None: ...


def a_call(asked: InferRequest) -> Call:
    return Call(Nowhere(), id="1", protocol="http", model=MODEL, request=asked, headers={}, started=0.0, deadline=1e9)


async def streamed(channel: grpc.aio.Channel, version: str) -> bytes:
    """Ask once by a stream, and read the answer."""
    call: Any = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")()
    await call.write(infer_message(1, model_version=version))
    answer: bytes = await call.read()
    return answer


@asynccontextmanager
async def silent_replica(plane: DataPlane, version: int) -> AsyncIterator[None]:
    """Run a replica that takes requests and never answers."""
    server = ChannelServer(token=TOKEN, max_in_flight=64, on_frame=lambda *_: None, on_lost=lambda _: None)
    socket = str(plane.folder / "silent.sock")
    await server.listen(socket)
    plane.gateway.set_endpoints(MODEL, version, [Endpoint("silent", socket, "here", 1, Signature((), ()), 64)])
    yield
    await server.close()


async def test_what_has_no_answer_when_the_drain_ends_is_refused_and_recorded(valkey_socket: Path) -> None:
    """Over every protocol, whether a replica holds the call or none is there; a client never waits for nothing."""
    async with (
        running_data_plane(f"unix://{valkey_socket}", drain_timeout_s=0.2) as plane,
        silent_replica(plane, 1),
        raw_peer(plane.settings.http_port) as peer,
        raw_peer(plane.settings.http_port) as other,
        grpc.aio.insecure_channel(plane.grpc) as channel,
    ):
        await plane.set_policy(variants=HALVES)
        for each, version in ((peer, 1), (other, 2)):
            await each.send(request(f"/v2/models/{MODEL}/versions/{version}/infer", infer_body(1)))
        calls = [unary(channel)(infer_message(1, model_version=version)) for version in ("1", "2")]
        while plane.gateway.in_flight < 4:
            await asyncio.sleep(0.001)

        closing = asyncio.create_task(plane.gateway.close())

        for each in (peer, other):
            answer = await each.answer()
            assert (answer.status, answer.headers["connection"]) == (503, "close")
            assert answer.headers["retry-after"]
            assert "stopping" in answer.json()["error"]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call
            assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        await closing
        assert plane.gateway.in_flight == 0
        page = scrape(plane.folder / "metrics")[0].decode()
        assert f'shepherd_log_records_total{{model="{MODEL}",outcome="logged"}} 4.0' in page
        answered = [line for line in page.splitlines() if line.startswith("shepherd_requests_total")]
        assert len(answered) == 4
        assert all('outcome="unavailable"' in line for line in answered)


async def test_a_call_that_hangs_is_refused_through_envoy_which_ends_last(valkey_socket: Path) -> None:
    """Its client is told why, as a client of a router is; one that is cut off knows nothing."""
    async with (
        running_data_plane(f"unix://{valkey_socket}", grpc_door="envoy", drain_timeout_s=0.2) as plane,
        silent_replica(plane, 1),
        grpc.aio.insecure_channel(plane.grpc) as channel,
    ):
        await plane.set_policy(variants=HALVES)
        calls = [
            asyncio.ensure_future(call)
            for call in (unary(channel)(infer_message(1, model_version="1")), streamed(channel, "1"))
        ]
        while plane.gateway.in_flight < len(calls):
            await asyncio.sleep(0.001)
        door = plane.door
        assert door is not None

        await asyncio.to_thread(door.drain)
        assert plane.gateway.in_flight == len(calls)
        await plane.gateway.close()
        await asyncio.to_thread(door.stop)

        with pytest.raises(grpc.aio.AioRpcError, match="this gateway is stopping") as failure:
            await calls[0]
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        answer = pb.ModelStreamInferResponse.FromString(await calls[1])
        assert "this gateway is stopping" in answer.error_message


async def test_a_client_that_watches_the_health_holds_up_no_stopping_router(valkey_socket: Path) -> None:
    """It is told that the router serves no more, and its stream ends."""
    async with (
        running_data_plane(f"unix://{valkey_socket}", drain_timeout_s=60) as plane,
        grpc.aio.insecure_channel(plane.grpc) as channel,
    ):
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")(
            health_pb2.HealthCheckRequest(service="liveness").SerializeToString()
        )
        first = health_pb2.HealthCheckResponse.FromString(await watch.read())

        async with asyncio.timeout(20):
            await plane.gateway.close()

        last = health_pb2.HealthCheckResponse.FromString(await watch.read())
        assert (first.status, last.status) == (first.SERVING, first.NOT_SERVING)
        assert await watch.read() is grpc.aio.EOF
        assert await watch.code() is grpc.StatusCode.OK


async def test_what_is_refused_at_the_end_is_let_go(valkey_socket: Path) -> None:
    """An error that all of them shared would hold every request that raised it."""
    async with running_data_plane(f"unix://{valkey_socket}") as plane:
        await plane.set_policy(variants=HALVES)
        dispatcher, tensor = plane.gateway._dispatcher, to_tensor("x", np.ones((1, 4), np.float32), "FP32")
        dispatcher.close()
        refused = [a_call(InferRequest((tensor,))) for _ in range(3)]
        for call in refused:
            dispatcher.dispatch(call, None)

        errors = [call.error for call in refused if call.error is not None]
        assert len({id(error) for error in errors}) == 3
        assert all("stopping" in error.message for error in errors)
