"""How `ModelInferRequest` is read and `ModelInferResponse` written."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from serving.protocol.elements import join_elements
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.grpc_codec import decode_infer, encode_infer_response, encode_stream_error, encode_stream_response
from serving.protocol.messages import InferRequest, InferResponse, Limits, Parameter, RequestedOutput, Tensor
from serving.protocol.pb import open_inference_pb2 as pb

LIMITS = Limits()


def tensor(name: str, datatype: str, shape: list[int], **contents: Any) -> pb.ModelInferRequest.InferInputTensor:
    described = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    if contents:
        described.contents.MergeFrom(pb.InferTensorContents(**contents))
    return described


def decode(message: pb.ModelInferRequest) -> InferRequest:
    return decode_infer(message.SerializeToString(), LIMITS)[2]


def refusal(**message: Any) -> ServingError:
    with pytest.raises(ServingError) as raised:
        decode(pb.ModelInferRequest(**message))
    return raised.value


def test_a_message_gives_model_version_and_request() -> None:
    """Parameters keep their types, classification goes to its output."""
    message = pb.ModelInferRequest(model_name="m", model_version="3", id="7", inputs=[tensor("x", "UINT8", [2])])
    message.raw_input_contents.append(b"ab")
    message.parameters["priority"].uint64_param = 1 << 63
    message.parameters["sequence_id"].string_param = "s"
    message.parameters["sequence_start"].bool_param = True
    message.parameters["scale"].double_param = 0.5
    message.outputs.add(name="y").parameters["classification"].int64_param = 2

    assert decode_infer(message.SerializeToString(), LIMITS) == (
        "m",
        "3",
        InferRequest(
            inputs=(Tensor("x", "UINT8", (2,), b"ab"),),
            outputs=(RequestedOutput("y", class_count=2),),
            id="7",
            parameters={"priority": 1 << 63, "sequence_id": "s", "sequence_start": True, "scale": 0.5},
        ),
    )


@pytest.mark.parametrize(
    ("datatype", "field", "values", "raw"),
    [
        ("BOOL", "bool_contents", [True, False], b"\1\0"),
        ("INT8", "int_contents", [-128, 127], b"\x80\x7f"),
        ("INT16", "int_contents", [-1, 1], struct.pack("<2h", -1, 1)),
        ("INT32", "int_contents", [-1, 1], struct.pack("<2i", -1, 1)),
        ("INT64", "int64_contents", [-1, 1], struct.pack("<2q", -1, 1)),
        ("UINT8", "uint_contents", [0, 255], b"\x00\xff"),
        ("UINT16", "uint_contents", [0, 65535], b"\0\0\xff\xff"),
        ("UINT32", "uint_contents", [0, 7], struct.pack("<2I", 0, 7)),
        ("UINT64", "uint64_contents", [0, 7], struct.pack("<2Q", 0, 7)),
        ("FP32", "fp32_contents", [0.5, 2], struct.pack("<2f", 0.5, 2)),
        ("FP64", "fp64_contents", [0.1, 2], struct.pack("<2d", 0.1, 2)),
        ("BYTES", "bytes_contents", [b"\xff", b""], join_elements([b"\xff", b""])),
    ],
)
def test_typed_contents_become_raw_data(datatype: str, field: str, values: list[Any], raw: bytes) -> None:
    """Each datatype has its field."""
    message = pb.ModelInferRequest(inputs=[tensor("x", datatype, [2], **{field: values})])

    assert decode(message).inputs == (Tensor("x", datatype, (2,), raw),)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (tensor("x", "INT8", [1], int_contents=[128]), "contents.int_contents has an element out of range for INT8"),
        (
            tensor("x", "FP32", [1], fp64_contents=[1]),
            "FP32 data belongs in contents.fp32_contents, not in contents.fp64",
        ),
        (tensor("x", "FP32", [2], fp32_contents=[1]), "shape [2] needs 2 elements, contents.fp32_contents has 1"),
        (tensor("x", "FP32", [1]), "shape [1] needs 1 elements, contents.fp32_contents has 0"),
        (tensor("x", "FP16", [1], fp32_contents=[1]), "FP16 data must come in raw_input_contents"),
        (tensor("x", "", [1]), 'datatype "" is not one of'),
        (tensor("x", "FP32", [-1]), "shape [-1] has a negative dimension"),
    ],
)
def test_contents_that_do_not_fit_are_refused_by_name(
    described: pb.ModelInferRequest.InferInputTensor, message: str
) -> None:
    """The message names the tensor and the field."""
    error = refusal(inputs=[described])

    assert error.kind is ErrorKind.INVALID
    assert error.message.startswith(f'inputs[0] "x": {message}')


def test_raw_and_typed_contents_do_not_mix() -> None:
    """One way for all inputs of a message."""
    mixed = refusal(inputs=[tensor("x", "UINT8", [1], uint_contents=[1])], raw_input_contents=[b"a"])
    short = refusal(inputs=[tensor("x", "UINT8", [1]), tensor("y", "UINT8", [1])], raw_input_contents=[b"a"])

    assert mixed.message == 'inputs[0] "x": has both contents and raw_input_contents'
    assert short.message == "raw_input_contents has 1 entries for 2 inputs"


def test_shared_memory_is_not_offered() -> None:
    """A region's name from the network must not choose memory of the server."""
    described = tensor("x", "UINT8", [1])
    described.parameters["shared_memory_region"].string_param = "r"

    assert refusal(inputs=[described]).kind is ErrorKind.UNSUPPORTED


def test_a_large_tensor_is_a_view_of_the_message() -> None:
    """Above the threshold nothing is copied."""
    message = pb.ModelInferRequest(inputs=[tensor("x", "UINT8", [1 << 17])], raw_input_contents=[bytes(1 << 17)])
    body = message.SerializeToString()

    data = decode_infer(body, LIMITS)[2].inputs[0].data

    assert isinstance(data, memoryview)
    assert data.obj is body


def test_what_is_no_message_is_refused() -> None:
    """Broken wire format is the client's fault."""
    with pytest.raises(ServingError) as raised:
        decode_infer(b"\xff\xff\xff", LIMITS)

    assert raised.value.message == "the message is not a ModelInferRequest"


def test_an_answer_is_the_bytes_protobuf_would_write() -> None:
    """Appending raw contents by hand is no dialect."""
    answer = InferResponse(
        "m",
        "3",
        (Tensor("y", "FP32", (1, 2), memoryview(b"abcdefgh")), Tensor("z", "BYTES", (0,), b"")),
        "7",
        {"one": 1},
    )
    expected = pb.ModelInferResponse(model_name="m", model_version="3", id="7", raw_output_contents=[b"abcdefgh", b""])
    expected.outputs.add(name="y", datatype="FP32", shape=[1, 2])
    expected.outputs.add(name="z", datatype="BYTES", shape=[0])
    expected.parameters["one"].int64_param = 1

    assert encode_infer_response(answer) == expected.SerializeToString()


def test_answer_parameters_keep_their_types() -> None:
    """A bool is no integer; integers beyond int64 are unsigned."""
    parameters: dict[str, Parameter] = {"b": True, "i": -1, "u": (1 << 64) - 1, "d": 0.5, "s": "x"}

    message = pb.ModelInferResponse.FromString(encode_infer_response(InferResponse("m", "1", (), "", parameters)))

    choices = {name: value.WhichOneof("parameter_choice") for name, value in message.parameters.items()}
    assert choices == {
        "b": "bool_param",
        "i": "int64_param",
        "u": "uint64_param",
        "d": "double_param",
        "s": "string_param",
    }


def test_a_stream_answers_with_a_response_or_an_error() -> None:
    """An error carries the id of the request that failed."""
    answer = InferResponse("m", "1", (Tensor("y", "UINT8", (1,), b"a"),), "7")

    good = pb.ModelStreamInferResponse.FromString(encode_stream_response(answer))
    bad = pb.ModelStreamInferResponse.FromString(encode_stream_error("no such model", "8"))

    assert not good.error_message
    assert list(good.infer_response.raw_output_contents) == [b"a"]
    assert (bad.error_message, bad.infer_response.id) == ("no such model", "8")
