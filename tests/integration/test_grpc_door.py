"""gRPC as the door speaks it: metadata, deadlines, cancellation, streams, health, reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from router.gateway.grpc.rpc.inference import STREAM_WINDOW
from router.requestlog.label import Label
from serving.backends.echo import EchoBackend, EchoOptions
from serving.protocol.pb import feedback_pb2 as feedback
from serving.protocol.pb import open_inference_pb2 as pb
from tests.data_plane import MODEL, DataPlane, running_data_plane
from tests.held_backend import HeldBackend
from tests.waiting import until

pytestmark = pytest.mark.asyncio

SERVICE = "/inference.GRPCInferenceService/"
ONE = [{"name": "stable", "version": 1, "weight": 10_000}]
FAIL = 666.0


@pytest_asyncio.fixture(params=["aio", "envoy"])
async def plane(valkey_socket: Path, request: pytest.FixtureRequest) -> AsyncIterator[DataPlane]:
    """A router with one echo version that fails on 666, behind either door: one specification holds for both."""
    async with running_data_plane(
        f"unix://{valkey_socket}", grpc_door=request.param, request_timeout_s=5, max_body_bytes=64 * 1024
    ) as running:
        await running.add_replica(1, EchoBackend(EchoOptions(fail_on=FAIL)))
        await running.set_policy(variants=ONE)
        yield running


@pytest_asyncio.fixture
async def channel(plane: DataPlane) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to it."""
    async with grpc.aio.insecure_channel(plane.grpc) as connected:
        yield connected


def infer_request(*values: float, id: str = "", **parameters: Any) -> bytes:  # noqa: A002 - the field's word
    message = pb.ModelInferRequest(model_name=MODEL, id=id)
    added = message.inputs.add(name="x", datatype="FP32", shape=[1, len(values)])
    added.contents.fp32_contents.extend(values)
    for name, value in parameters.items():
        message.parameters[name].int64_param = value
    return message.SerializeToString()


def unary(channel: grpc.aio.Channel, method: str) -> Any:
    return channel.unary_unary(SERVICE + method)


async def test_metadata_says_who_answered_and_why(channel: grpc.aio.Channel) -> None:
    """As HTTP's headers do."""
    call = unary(channel, "ModelInfer")(infer_request(1, 2, 3, 4), metadata=(("x-user-id", "u1"),))

    response = pb.ModelInferResponse.FromString(await call)
    metadata = dict(await call.initial_metadata())
    assert response.model_version == metadata["x-shepherd-version"] == "1"
    assert (metadata["x-shepherd-variant"], metadata["x-shepherd-reason"]) == ("stable", "only")
    assert metadata["x-shepherd-request-id"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (infer_request(FAIL, 0, 0, 0), grpc.StatusCode.INTERNAL),
        (infer_request(*[0.0] * 5), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.ModelInferRequest(model_name="nope").SerializeToString(), grpc.StatusCode.NOT_FOUND),
        (pb.ModelInferRequest(model_name="../m").SerializeToString(), grpc.StatusCode.NOT_FOUND),
        (pb.ModelInferRequest(model_name=MODEL, model_version="x").SerializeToString(), grpc.StatusCode.NOT_FOUND),
        (pb.ModelInferRequest(model_name=MODEL, model_version="9").SerializeToString(), grpc.StatusCode.NOT_FOUND),
        (b"\x0a\x01m" + b"\x3a\x80\x80\x04" + b"\x00" * 65536, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)  # fmt: skip
async def test_failures_have_their_codes(channel: grpc.aio.Channel, message: bytes, code: grpc.StatusCode) -> None:
    """By the one table."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await unary(channel, "ModelInfer")(message)

    assert failure.value.code() is code
    assert "Traceback" not in str(failure.value.details())


async def test_a_deadline_reaches_the_model(plane: DataPlane, channel: grpc.aio.Channel) -> None:
    """The client hears at its deadline, and a call that was not run by then never is."""
    backend = HeldBackend()
    await plane.add_replica(2, backend)
    await plane.set_policy(variants=[{"name": "slow", "version": 2, "weight": 10_000}])
    infer = unary(channel, "ModelInfer")
    with backend.held():
        running = asyncio.ensure_future(infer(infer_request(0, 0, 0, 0)))
        await until(lambda: plane.gateway.in_flight)

        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await infer(infer_request(0, 0, 0, 0), timeout=0.05)

    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await running
    await until(lambda: not plane.gateway.in_flight)
    outcomes = sorted(record.outcome for record in plane.records())
    assert outcomes in (["cancelled", "ok"], ["deadline", "ok"])


async def test_the_parameter_timeout_is_heeded(plane: DataPlane, channel: grpc.aio.Channel) -> None:
    """V2's microseconds, as over HTTP."""
    await plane.remove_replica(1, abruptly=True)

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await unary(channel, "ModelInfer")(infer_request(0, 0, 0, 0, timeout=50_000))

    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_cancelled_call_frees_its_place(plane: DataPlane, channel: grpc.aio.Channel) -> None:
    """At once, down to the replica."""
    backend = HeldBackend()
    server = await plane.add_replica(2, backend)
    await plane.set_policy(variants=[{"name": "slow", "version": 2, "weight": 10_000}])
    with backend.held():
        calls = [unary(channel, "ModelInfer")(infer_request(0, 0, 0, 0)) for _ in range(5)]
        await until(lambda: server.stats()["in_flight"] == 5)

        for call in calls:
            call.cancel()
        await until(lambda: not plane.gateway.in_flight)
    await until(lambda: not server.stats()["in_flight"])
    await asyncio.gather(*calls, return_exceptions=True)

    assert {record.outcome for record in plane.records()} == {"cancelled"}


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def stream(channel: grpc.aio.Channel) -> Any:
    return channel.stream_stream(SERVICE + "ModelStreamInfer")()


async def read(call: Any) -> pb.ModelStreamInferResponse:
    return pb.ModelStreamInferResponse.FromString(await call.read())


async def test_a_stream_answers_in_order_and_a_failing_request_fails_alone(channel: grpc.aio.Channel) -> None:
    """Requests run side by side; each answer names its request."""
    call = stream(channel)
    for number in range(100):
        await call.write(infer_request(FAIL if number == 50 else number, 0, 0, 0, id=f"r{number}"))
    await call.done_writing()
    answers = [await read(call) for _ in range(100)]

    assert [answer.infer_response.id for answer in answers] == [f"r{number}" for number in range(100)]
    assert [number for number, answer in enumerate(answers) if answer.error_message] == [50]
    assert answers[3].infer_response.parameters["triton_final_response"].bool_param
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_stream_survives_bytes_that_are_no_request(channel: grpc.aio.Channel) -> None:
    """The answer is an error, the next request is served."""
    call = stream(channel)
    await call.write(b"\xff\xff\xff")
    await call.write(infer_request(1, 2, 3, 4, id="after"))

    assert "ModelInferRequest" in (await read(call)).error_message
    assert (await read(call)).infer_response.id == "after"
    call.cancel()


#: Reading a message, by either door's reader, and deciding who answers it.
DEFECTS = {
    "read": ("router.gateway.grpc.wire.read_infer", "router.gateway.grpc.rpc.inference.read_infer"),
    "decide": ("router.gateway.dispatch.dispatcher.decide",),
}


@pytest.mark.parametrize("step", DEFECTS)
async def test_a_defect_costs_the_one_request_that_meets_it(
    plane: DataPlane, channel: grpc.aio.Channel, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INTERNAL for a call, an error for a message of a stream; the stream and the connection go on."""

    def out_of_memory(*_: object, **__: object) -> NoReturn:
        raise MemoryError

    streamed = stream(channel)
    with monkeypatch.context() as patch:
        for reader in DEFECTS[step]:
            patch.setattr(reader, out_of_memory)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await unary(channel, "ModelInfer")(infer_request(1, 2, 3, 4))
        await streamed.write(infer_request(1, 2, 3, 4))
        failed = await read(streamed)

    assert failure.value.code() is grpc.StatusCode.INTERNAL
    assert "its log knows more" in str(failure.value.details())
    assert "its log knows more" in failed.error_message
    await streamed.write(infer_request(1, 2, 3, 4, id="after"))
    assert (await read(streamed)).infer_response.id == "after"
    await unary(channel, "ModelInfer")(infer_request(1, 2, 3, 4))
    assert [record.outcome for record in plane.records()] == ["internal", "internal", "ok", "ok"]
    streamed.cancel()


async def test_a_stream_that_is_cancelled_cancels_its_calls(plane: DataPlane, channel: grpc.aio.Channel) -> None:
    """Nothing goes on for a client that has left."""
    await plane.remove_replica(1, abruptly=True)
    call = stream(channel)
    for number in range(10):
        await call.write(infer_request(number, 0, 0, 0))
    while plane.gateway.in_flight < 10:
        await asyncio.sleep(0.001)

    call.cancel()
    await until(lambda: not plane.gateway.in_flight)

    assert {record.outcome for record in plane.records()} == {"cancelled"}


async def test_a_stream_that_its_client_abandons_leaves_nothing_behind(
    plane: DataPlane, channel: grpc.aio.Channel
) -> None:
    """No call, no task; also where more was asked than is on its way at once, so that the stream is not read."""
    await plane.remove_replica(1, abruptly=True)
    call = stream(channel)
    for _ in range(2 * STREAM_WINDOW):
        await call.write(infer_request(0, 0, 0, 0))
    while plane.gateway.in_flight < STREAM_WINDOW:
        await asyncio.sleep(0.001)

    call.cancel()

    async with asyncio.timeout(20):
        while plane.gateway.in_flight or any(task.get_name() == "grpc-stream" for task in asyncio.all_tasks()):
            await asyncio.sleep(0.001)
    assert {record.outcome for record in plane.records()} == {"cancelled"}


async def test_a_stream_that_asks_without_end_is_held_back(plane: DataPlane, channel: grpc.aio.Channel) -> None:
    """What one stream may have on its way is bounded; the rest waits with its client."""
    await plane.remove_replica(1, abruptly=True)
    call = stream(channel)
    for number in range(1000):
        await call.write(infer_request(number, 0, 0, 0))
        if plane.gateway.in_flight > 100:
            break
    while plane.gateway.in_flight < 60:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)

    assert plane.gateway.in_flight <= 70
    call.cancel()


# ── the other methods ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", [
    f"{kind}SharedMemory{verb}" for kind in ("System", "Cuda") for verb in ("Status", "Register", "Unregister")
])  # fmt: skip
async def test_shared_memory_is_refused_with_a_reason(channel: grpc.aio.Channel, method: str) -> None:
    """A name from the network must not choose memory of this machine."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await unary(channel, method)(b"")

    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "shared memory" in str(failure.value.details())


async def test_health_is_checked_by_the_standard_service(channel: grpc.aio.Channel) -> None:
    """The server, our service, and no other."""
    health = health_pb2_grpc.HealthStub(channel)

    for service in ("", "inference.GRPCInferenceService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await health.Check(health_pb2.HealthCheckRequest(service="nope"))
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_can_be_watched(channel: grpc.aio.Channel) -> None:
    """The first status comes at once; an unknown service is watched as unknown."""
    health = health_pb2_grpc.HealthStub(channel)

    for service, expected in (("", "SERVING"), ("nope", "SERVICE_UNKNOWN")):
        watching = health.Watch(health_pb2.HealthCheckRequest(service=service))
        answer = await watching.read()
        assert health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) == expected
        watching.cancel()


async def test_reflection_describes_the_public_service(plane: DataPlane) -> None:
    """A tool such as grpcurl finds `inference.GRPCInferenceService` with all its methods and messages."""

    def describe() -> tuple[list[str], Any]:
        with grpc.insecure_channel(plane.grpc) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            services = list(database.get_services())
            return services, database.FindFileContainingSymbol("inference.GRPCInferenceService")

    services, file = await asyncio.to_thread(describe)

    assert {"inference.GRPCInferenceService", "shepherd.v1.Feedback", "grpc.health.v1.Health"} <= set(services)
    assert file.package == "inference"
    (service,) = file.service
    assert {"ModelInfer", "ModelStreamInfer", "LogSettings"} <= {method.name for method in service.method}
    assert next(m for m in service.method if m.name == "ModelInfer").input_type == ".inference.ModelInferRequest"


async def test_labels_come_back_over_grpc_as_over_http(plane: DataPlane, channel: grpc.aio.Channel) -> None:
    """Numbers, texts, one for each row, outcomes; the wrong ones are named by their places."""
    request = feedback.PostRequest(model_name=MODEL)
    request.labels.add(request_id="a").values.add(int_value=1)
    request.labels.add(request_id="b", values=[{"string_value": "cat"}, {"string_value": "dog"}], outcome=2.5)
    request.labels.add(request_id="c")
    request.labels.add(request_id="d").values.add()
    request.labels.add(request_id="e").values.add(bool_value=True)
    post: Any = channel.unary_unary("/shepherd.v1.Feedback/Post", feedback.PostRequest.SerializeToString)
    answer = feedback.PostResponse.FromString(await post(request))
    stored = [entry.label async for entry in plane.labels.entries()]

    assert (answer.accepted, answer.rejected) == (3, 2)
    assert [(error.index, error.field) for error in answer.errors] == [(2, "label"), (3, "label")]
    assert stored == [Label("a", 1), Label("b", ("cat", "dog"), 2.5), Label("e", True)]


@pytest.mark.parametrize(
    ("request_", "code", "told"),
    [
        (feedback.PostRequest(model_name=MODEL), "INVALID_ARGUMENT", "labels"),
        (feedback.PostRequest(model_name=MODEL, labels=[{"request_id": "a"}]), "INVALID_ARGUMENT", "label"),
        (feedback.PostRequest(model_name="other", labels=[{"request_id": "a", "outcome": 1}]), "NOT_FOUND", "other"),
        (feedback.PostRequest(model_name=MODEL, model_version="x"), "NOT_FOUND", "version"),
        (feedback.PostRequest(model_name=MODEL, labels=[{}] * 1001), "RESOURCE_EXHAUSTED", "1000"),
    ],
    ids=["empty", "nothing-known", "model", "version", "crowd"],
)
async def test_labels_that_are_refused_over_grpc_say_why(
    channel: grpc.aio.Channel, request_: feedback.PostRequest, code: str, told: str
) -> None:
    """Nothing of them is kept."""
    post: Any = channel.unary_unary("/shepherd.v1.Feedback/Post", feedback.PostRequest.SerializeToString)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await post(request_)

    assert failure.value.code().name == code
    assert told in (failure.value.details() or "")


@pytest.mark.parametrize("name", ["../policies/m", "m/versions/1/load?", "..", "", "m#", "a" * 200])
async def test_a_name_that_no_model_can_have_never_reaches_control(channel: grpc.aio.Channel, name: str) -> None:
    """It would choose another operation, with the caller's credentials."""
    request = pb.RepositoryModelUnloadRequest(model_name=name).SerializeToString()
    unload: Any = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelUnload")

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await unload(request, metadata=(("authorization", "Bearer x"),))

    assert failure.value.code() is grpc.StatusCode.NOT_FOUND
