"""A stock tritonclient, unchanged, sync and async, over HTTP and gRPC, in the same process as our own messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
import pytest_asyncio
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as grpcaio
import tritonclient.http as httpclient
import tritonclient.http.aio as httpaio
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from serving.backends.onnx import OnnxBackend
from tests import models
from tests.data_plane import MODEL, DataPlane, running_data_plane

pytestmark = pytest.mark.asyncio

ONE = [{"name": "stable", "version": 1, "weight": 10_000}]


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """A router without models."""
    async with running_data_plane(f"unix://{valkey_socket}", request_timeout_s=10) as running:
        yield running


async def serve(plane: DataPlane, model: bytes, version: int = 1) -> onnxruntime.InferenceSession:
    """Serve a model as a version; return onnxruntime's own session of it."""
    path = plane.folder / f"{version}.onnx"
    path.write_bytes(model)
    await plane.add_replica(version, OnnxBackend(path))
    await plane.set_policy(variants=[{"name": "stable", "version": version, "weight": 10_000}])
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def tensor(library: Any, name: str, array: np.ndarray[Any, Any], datatype: str, **options: Any) -> Any:
    made = library.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, **options)
    return made


def rows(count: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).normal(size=(count, 16)).astype(np.float32)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
async def test_http_answers_equal_onnxruntimes(plane: DataPlane, binary_in: bool, binary_out: bool) -> None:
    """JSON or raw, both ways: the same numbers as onnxruntime called directly."""
    session = await serve(plane, models.mlp())
    asked = [tensor(httpclient, "features", rows(), "FP32", binary_data=binary_in)]
    wanted = [httpclient.InferRequestedOutput("probabilities", binary_data=binary_out)]

    def call() -> Any:
        with httpclient.InferenceServerClient(plane.http.removeprefix("http://")) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready(MODEL)
            assert client.is_model_ready(MODEL, "1")
            return client.infer(MODEL, asked, outputs=wanted, request_id="a-1")

    result = await asyncio.to_thread(call)

    np.testing.assert_array_equal(result.as_numpy("probabilities"), session.run(None, {"features": rows()})[0])
    assert result.get_response()["id"] == "a-1"
    assert result.get_response()["model_version"] == "1"


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
async def test_http_bodies_may_be_compressed_both_ways(plane: DataPlane, algorithm: str) -> None:
    """Compressed by gzip and by deflate, large enough to be worth it."""
    session = await serve(plane, models.mlp())
    many = rows(2000)

    def call() -> Any:
        with httpclient.InferenceServerClient(plane.http.removeprefix("http://")) as client:
            return client.infer(
                MODEL,
                [tensor(httpclient, "features", many, "FP32")],
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )

    result = await asyncio.to_thread(call)

    np.testing.assert_array_equal(result.as_numpy("probabilities"), session.run(None, {"features": many})[0])


async def test_grpc_answers_equal_onnxruntimes(plane: DataPlane) -> None:
    """The synchronous client, whose messages live in the same process as ours."""
    session = await serve(plane, models.mlp())

    def call() -> Any:
        with grpcclient.InferenceServerClient(plane.grpc) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready(MODEL, "1")
            return client.infer(MODEL, [tensor(grpcclient, "features", rows(), "FP32")], request_id="b-2")

    result = await asyncio.to_thread(call)

    np.testing.assert_array_equal(result.as_numpy("probabilities"), session.run(None, {"features": rows()})[0])
    assert result.get_response().id == "b-2"


async def test_async_clients_get_the_same_answers(plane: DataPlane) -> None:
    """http.aio and grpc.aio."""
    session = await serve(plane, models.mlp())
    expected = session.run(None, {"features": rows()})[0]

    async with httpaio.InferenceServerClient(plane.http.removeprefix("http://")) as client:
        over_http = await client.infer(MODEL, [tensor(httpaio, "features", rows(), "FP32")])
        assert (await client.get_model_metadata(MODEL))["inputs"] == [
            {"name": "features", "datatype": "FP32", "shape": [-1, 16]}
        ]
    async with grpcaio.InferenceServerClient(plane.grpc) as rpc:
        over_grpc = await rpc.infer(MODEL, [tensor(grpcaio, "features", rows(), "FP32")])
        metadata = await rpc.get_model_metadata(MODEL, as_json=True)

    np.testing.assert_array_equal(over_http.as_numpy("probabilities"), expected)
    np.testing.assert_array_equal(over_grpc.as_numpy("probabilities"), expected)
    assert metadata["platform"] == "onnxruntime_onnx"


ELEMENTS = [
    (TensorProto.BOOL, "BOOL", np.array([True, False])),
    (TensorProto.INT8, "INT8", np.array([-128, 127], np.int8)),
    (TensorProto.INT16, "INT16", np.array([-(2**15), 2**15 - 1], np.int16)),
    (TensorProto.INT32, "INT32", np.array([-(2**31), 2**31 - 1], np.int32)),
    (TensorProto.INT64, "INT64", np.array([-(2**63), 2**63 - 1], np.int64)),
    (TensorProto.UINT8, "UINT8", np.array([0, 255], np.uint8)),
    (TensorProto.UINT16, "UINT16", np.array([0, 2**16 - 1], np.uint16)),
    (TensorProto.UINT32, "UINT32", np.array([0, 2**32 - 1], np.uint32)),
    (TensorProto.UINT64, "UINT64", np.array([0, 2**64 - 1], np.uint64)),
    (TensorProto.FLOAT16, "FP16", np.array([0.5, -65504], np.float16)),
    (TensorProto.FLOAT, "FP32", np.array([0.1, -3.4e38], np.float32)),
    (TensorProto.DOUBLE, "FP64", np.array([0.1, -1.7e308], np.float64)),
    (TensorProto.STRING, "BYTES", np.array([b"", "grüß".encode()], object)),
]


@pytest.mark.parametrize(("element", "datatype", "values"), ELEMENTS, ids=[datatype for _, datatype, _ in ELEMENTS])
@pytest.mark.parametrize("shape", [(2,), (2, 1), (0,), ()], ids=str)
async def test_every_type_and_shape_comes_back_as_it_went(
    plane: DataPlane, element: int, datatype: str, values: Any, shape: tuple[int, ...]
) -> None:
    """Every datatype over both protocols: ranks 0 to 2, and no elements at all."""
    if shape == (0,) and datatype == "BYTES":
        pytest.skip("tritonclient itself cannot read an empty BYTES tensor")
    await serve(plane, models.identity(element, [None if size in {0, 2} else size for size in shape]))
    sent = values[: int(np.prod(shape))].reshape(shape) if shape else values[:1].reshape(())

    async with grpcaio.InferenceServerClient(plane.grpc) as rpc:
        over_grpc = (await rpc.infer(MODEL, [tensor(grpcaio, "x", sent, datatype)])).as_numpy("y")
    async with httpaio.InferenceServerClient(plane.http.removeprefix("http://")) as client:
        over_http = (await client.infer(MODEL, [tensor(httpaio, "x", sent, datatype)])).as_numpy("y")

    for received in (over_grpc, over_http):
        assert received.shape == sent.shape
        np.testing.assert_array_equal(received, sent)


async def test_bfloat16_comes_back_as_it_went(plane: DataPlane) -> None:
    """As raw bit patterns, which numpy knows with the help of ml_dtypes."""
    await serve(plane, models.identity(TensorProto.BFLOAT16, [None]))
    sent = np.array([1.0, -2.5, 3.0e38], ml_dtypes.bfloat16)

    async with grpcaio.InferenceServerClient(plane.grpc) as rpc:
        over_grpc = (await rpc.infer(MODEL, [tensor(grpcaio, "x", sent, "BF16")])).as_numpy("y")
    async with httpaio.InferenceServerClient(plane.http.removeprefix("http://")) as client:
        over_http = (await client.infer(MODEL, [tensor(httpaio, "x", sent, "BF16")])).as_numpy("y")

    for received in (over_grpc, over_http):
        np.testing.assert_array_equal(np.asarray(received, np.float32), sent.astype(np.float32))


async def test_sequences_of_maps_arrive_as_tensors(plane: DataPlane) -> None:
    """scikit-learn's probabilities: one row per map, and the keys beside them."""
    session = await serve(plane, models.map_sequence())
    sent = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    label, maps = session.run(None, {"float_input": sent})

    async with grpcaio.InferenceServerClient(plane.grpc) as rpc:
        result = await rpc.infer(MODEL, [tensor(grpcaio, "float_input", sent, "FP32")])

    np.testing.assert_array_equal(result.as_numpy("label"), label)
    np.testing.assert_array_equal(result.as_numpy("probabilities.keys"), list(maps[0]))
    np.testing.assert_allclose(result.as_numpy("probabilities"), [list(row.values()) for row in maps])


async def test_only_the_outputs_asked_for_come_back(plane: DataPlane) -> None:
    """Two outputs, one wanted."""
    await serve(plane, models.two_inputs())
    pair = np.array([[2, 3]], np.float32)
    asked = [tensor(grpcaio, name, pair, "FP32") for name in ("a", "b")]

    async with grpcaio.InferenceServerClient(plane.grpc) as rpc:
        result = await rpc.infer(MODEL, asked, outputs=[grpcaio.InferRequestedOutput("product")])

    assert [output.name for output in result.get_response().outputs] == ["product"]
    np.testing.assert_array_equal(result.as_numpy("product"), pair * pair)


@pytest.mark.parametrize("library", [httpaio, grpcaio], ids=["http", "grpc"])
async def test_the_strongest_classes_are_named(plane: DataPlane, library: Any) -> None:
    """Classification extension: `value:index`, strongest first, per row."""
    session = await serve(plane, models.mlp())
    expected = session.run(None, {"features": rows()})[0]
    address = plane.grpc if library is grpcaio else plane.http.removeprefix("http://")

    async with library.InferenceServerClient(address) as client:
        wanted = [library.InferRequestedOutput("probabilities", class_count=2)]
        result = await client.infer(MODEL, [tensor(library, "features", rows(), "FP32")], outputs=wanted)

    classes = result.as_numpy("probabilities")
    assert classes.shape == (3, 2)
    for row, strengths in zip(classes, expected, strict=True):
        named = [element.decode().split(":") for element in row]
        assert [int(index) for _, index in named] == list(np.argsort(-strengths)[:2])
        np.testing.assert_allclose([float(value) for value, _ in named], np.sort(strengths)[::-1][:2], atol=1e-6)


@pytest.mark.parametrize(
    ("model", "array", "status", "code", "words"),
    [
        ("nope", rows(), "404", "NOT_FOUND", "unknown model"),
        (MODEL, rows()[:, :5], "400", "INVALID_ARGUMENT", "shape"),
        (MODEL, rows().astype(np.float64), "400", "INVALID_ARGUMENT", "FP64"),
    ],
)
async def test_both_protocols_refuse_the_same_in_their_own_codes(  # noqa: PLR0917 - one row of the table each
    plane: DataPlane, model: str, array: Any, status: str, code: str, words: str
) -> None:
    """One table of failures."""
    await serve(plane, models.mlp())
    datatype = "FP64" if array.dtype == np.float64 else "FP32"

    async with grpcaio.InferenceServerClient(plane.grpc) as rpc:
        with pytest.raises(InferenceServerException) as over_grpc:
            await rpc.infer(model, [tensor(grpcaio, "features", array, datatype)])
    async with httpaio.InferenceServerClient(plane.http.removeprefix("http://")) as client:
        with pytest.raises(InferenceServerException) as over_http:
            await client.infer(model, [tensor(httpaio, "features", array, datatype)])

    assert over_grpc.value.status() == f"StatusCode.{code}"
    assert over_http.value.status() == status
    assert over_grpc.value.message() == over_http.value.message()
    assert words in over_http.value.message()
