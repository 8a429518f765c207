"""What tritonclient encodes we decode, and what we encode tritonclient decodes, over HTTP and gRPC."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc._utils import _get_inference_request

from serving.protocol.binary_codec import decode_binary, encode_response
from serving.protocol.elements import join_elements
from serving.protocol.grpc_codec import decode_infer, encode_infer_response
from serving.protocol.json_codec import decode_json
from serving.protocol.messages import InferRequest, InferResponse, Limits, RequestedOutput, Tensor

LIMITS = Limits()
DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BF16": ml_dtypes.bfloat16,
    "BYTES": np.object_,
}
SHAPES = [(2, 3), (4,), (1, 1, 2), (0,), (0, 3)]

datatypes = pytest.mark.parametrize("datatype", DTYPES)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
ways = pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
#: The client itself refuses to print BF16 as JSON.
sent_ways = pytest.mark.parametrize(
    ("datatype", "binary"), [(name, way) for name in DTYPES for way in (True, False) if way or name != "BF16"]
)


def sample(datatype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """An array of varied values, negative where the type allows."""
    count = int(np.prod(shape))
    if datatype == "BYTES":
        return np.array([b"", b"a", "é".encode(), b"long one"] * count, dtype=object)[:count].reshape(shape)
    numbers = np.arange(count) % 2 if datatype == "BOOL" else np.arange(count) * (-3 if datatype[0] in "IFB" else 3)
    return numbers.astype(DTYPES[datatype]).reshape(shape)


def tensor(name: str, datatype: str, array: npt.NDArray[Any]) -> Tensor:
    raw = join_elements(array.ravel().tolist()) if datatype == "BYTES" else array.tobytes()
    return Tensor(name, datatype, array.shape, raw)


def decode(body: bytes, length: int | None) -> InferRequest:
    return decode_json(body, LIMITS) if length is None else decode_binary(body, length, LIMITS)


@sent_ways
@shapes
def test_http_requests_of_the_client_are_understood(datatype: str, shape: tuple[int, ...], binary: bool) -> None:
    """`generate_request_body`, each datatype and shape, binary and JSON."""
    array = sample(datatype, shape)
    given = tritonclient.http.InferInput("x", list(shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    wanted = tritonclient.http.InferRequestedOutput("y", binary_data=binary, class_count=2)

    body, length = tritonclient.http.InferenceServerClient.generate_request_body(
        [given], outputs=[wanted], request_id="7", priority=3, timeout=1000, parameters={"key": "u-1"}
    )

    expected = tensor("x", datatype, array)
    request = decode(body, length)
    assert (length is not None) == binary
    assert bytes(request.inputs[0].data) == expected.data
    assert request.inputs[0].shape == expected.shape
    assert request.outputs == (RequestedOutput("y", binary=binary, class_count=2),)
    assert request.id == "7"
    assert request.parameters == {"priority": 3, "timeout": 1000, "key": "u-1"}


@datatypes
@shapes
@ways
def test_http_answers_are_understood_by_the_client(datatype: str, shape: tuple[int, ...], binary: bool) -> None:
    """`parse_response_body` gives the array back."""
    array = sample(datatype, shape)
    request = InferRequest((), (RequestedOutput("y", binary=binary),))

    buffers, length = encode_response(InferResponse("m", "1", (tensor("y", datatype, array),), "7"), request)

    result = tritonclient.http.InferenceServerClient.parse_response_body(b"".join(buffers), header_length=length)
    received = result.as_numpy("y")
    assert received.shape == shape
    if datatype == "BYTES" and not binary:
        array = np.array([element.decode() for element in array.ravel()], dtype=object).reshape(shape)
    assert received.tolist() == array.tolist()
    assert result.get_response()["id"] == "7"


def test_the_client_asks_for_binary_outputs_when_it_names_none() -> None:
    """`binary_data_output` is what it sends then."""
    given = tritonclient.http.InferInput("x", [1], "FP32")
    given.set_data_from_numpy(np.ones(1, np.float32))

    body, length = tritonclient.http.InferenceServerClient.generate_request_body(
        [given], sequence_id=9, sequence_start=True
    )

    request = decode(body, length)
    assert request.binary_output
    assert request.parameters == {"sequence_id": 9, "sequence_start": True, "sequence_end": False}


def test_the_client_reads_null_as_nan() -> None:
    """Our JSON for numbers that JSON lacks."""
    answer = InferResponse("m", "1", (tensor("y", "FP32", np.array([np.nan, 1], np.float32)),))

    buffers, _ = encode_response(answer, InferRequest(()))

    received = tritonclient.http.InferenceServerClient.parse_response_body(b"".join(buffers)).as_numpy("y")
    np.testing.assert_array_equal(received, np.array([np.nan, 1], np.float32))


@datatypes
@shapes
def test_grpc_requests_of_the_client_are_understood(datatype: str, shape: tuple[int, ...]) -> None:
    """Each datatype and shape; parameters keep their types."""
    array = sample(datatype, shape)
    given = tritonclient.grpc.InferInput("x", list(shape), datatype)
    given.set_data_from_numpy(array)
    message = _get_inference_request(
        model_name="m",
        inputs=[given],
        model_version="2",
        request_id="7",
        outputs=[tritonclient.grpc.InferRequestedOutput("y", class_count=2)],
        sequence_id="s",
        sequence_start=True,
        sequence_end=False,
        priority=3,
        timeout=1000,
        parameters={"key": "u-1", "scale": 0.5},
    )

    model, version, request = decode_infer(message.SerializeToString(), LIMITS)

    sequence = {"sequence_id": "s", "sequence_start": True, "sequence_end": False}
    assert (model, version, request.id) == ("m", "2", "7")
    assert request.inputs == (tensor("x", datatype, array),)
    assert request.outputs == (RequestedOutput("y", class_count=2),)
    assert request.parameters == {**sequence, "priority": 3, "timeout": 1000, "key": "u-1", "scale": 0.5}


@datatypes
@shapes
def test_grpc_answers_are_understood_by_the_client(datatype: str, shape: tuple[int, ...]) -> None:
    """`InferResult.as_numpy` gives the array back."""
    array = sample(datatype, shape)

    encoded = encode_infer_response(InferResponse("m", "1", (tensor("y", datatype, array),), "7"))

    message = tritonclient.grpc.service_pb2.ModelInferResponse.FromString(encoded)
    received = tritonclient.grpc.InferResult(message).as_numpy("y")
    assert received.shape == shape
    assert received.tolist() == array.tolist()
    assert message.id == "7"
