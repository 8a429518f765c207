"""What brought other inference servers down must not bring this one down: a test per class of advisory.

Each request is refused with an error that names the reason, before memory is taken for what it pretends to hold.
"""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from serving.protocol.binary_codec import decode_binary
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.grpc_codec import decode_infer
from serving.protocol.json_codec import decode_json
from serving.protocol.messages import InferRequest, Limits, Tensor
from serving.protocol.packing import pack_tensors, unpack_tensors
from serving.protocol.pb import open_inference_pb2 as pb

LIMITS = Limits()
Decode = Callable[[str, list[int], bytes], object]


def by_json(datatype: str, shape: list[int], data: bytes) -> InferRequest:
    values = [] if datatype == "BYTES" else list(data)
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "data": values}
    return decode_json(json.dumps({"inputs": [tensor]}).encode(), LIMITS)


def by_binary(datatype: str, shape: list[int], data: bytes) -> InferRequest:
    parameters = {"binary_data_size": len(data)}
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "parameters": parameters}
    header = json.dumps({"inputs": [tensor]}).encode()
    return decode_binary(header + data, len(header), LIMITS)


def by_grpc(datatype: str, shape: list[int], data: bytes) -> object:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=shape)
    return decode_infer(pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[data]).SerializeToString(), LIMITS)


ways = pytest.mark.parametrize("decode", [by_json, by_binary, by_grpc])


def refusal(call: Callable[[], object]) -> ServingError:
    """Run a call that must be refused, and cheaply: 4 MiB is far below what any of the requests pretends to hold."""
    tracemalloc.start()
    try:
        with pytest.raises(ServingError) as raised:
            call()
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    return raised.value


@ways
@pytest.mark.parametrize(
    "shape",
    [
        [1 << 29],
        [1 << 62, 4],  # 2^64 elements: 0 in 64-bit arithmetic
        [(1 << 62) + 1, 4],  # 4 in 64-bit arithmetic
        [1 << 16, 1 << 16],  # 0 in 32-bit arithmetic
        [0, 1 << 62, 1 << 62],  # empty, but numpy refuses the other dimensions
    ],
)
def test_a_shape_cannot_overflow(decode: Decode, shape: list[int]) -> None:
    """Integer overflow in shape and size: Triton #8182 #8432 #8489 #8611."""
    error = refusal(lambda: decode("UINT8", shape, b""))

    assert error.kind is ErrorKind.TOO_LARGE
    assert "more elements than the limit of 268435456" in error.message


@ways
def test_two_negative_dimensions_do_not_make_a_positive(decode: Decode) -> None:
    """-2 times -2 is no shape of 4 elements."""
    assert "has a negative dimension" in refusal(lambda: decode("UINT8", [-2, -2], b"abcd")).message


@ways
def test_rank_is_bounded(decode: Decode) -> None:
    """Numpy knows 64 axes at most; models know a handful."""
    assert "shape has rank 17, the limit is 16" in refusal(lambda: decode("UINT8", [1] * 17, b"a")).message


@ways
@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_a_shape_of_millions_with_no_data_costs_nothing(decode: Decode, datatype: str) -> None:
    """The declared size is compared with what came, never allocated."""
    assert refusal(lambda: decode(datatype, [1 << 28], b"")).kind is ErrorKind.INVALID


@pytest.mark.parametrize("length", [-1, 1 << 20, 1 << 63, 1 << 70])
def test_a_header_length_beyond_the_body_is_refused(length: int) -> None:
    """`Inference-Header-Content-Length` out of range: Triton #8925."""
    error = refusal(lambda: decode_binary(b'{"inputs":[]}', length, LIMITS))

    assert error.kind is ErrorKind.INVALID
    assert error.message == f"Inference-Header-Content-Length is {length}, the body has 13 bytes"


@pytest.mark.parametrize("length", [0, 12])
def test_a_header_length_that_cuts_the_json_is_refused(length: int) -> None:
    """What it covers must be one whole document."""
    assert refusal(lambda: decode_binary(b'{"inputs":[]}', length, LIMITS)).kind is ErrorKind.INVALID


@pytest.mark.parametrize("size", [1 << 31, 1 << 63, 1 << 64, 1 << 70])
def test_a_binary_data_size_beyond_the_body_is_refused(size: int) -> None:
    """Slices stay inside the body whatever the number."""
    tensor = {"name": "x", "datatype": "UINT8", "shape": [1], "parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [tensor]}).encode()

    assert refusal(lambda: decode_binary(header + b"a", len(header), LIMITS)).kind is ErrorKind.INVALID


@pytest.mark.parametrize(
    "template",
    [
        b"%b",
        b'{"inputs":%b}',
        b'{"inputs":[],"unknown":%b}',
        b'{"inputs":[],"parameters":{"p":%b}}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":%b}]}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":%b}]}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":%b}]}',
    ],
)
@pytest.mark.parametrize("closed", [True, False])
def test_bottomless_json_is_refused(template: bytes, closed: bool) -> None:
    """JSON depth: Triton #8172. No crash and no RecursionError, wherever the nesting is."""
    depth = 100_000
    body = template % (b"[" * depth + b"]" * depth * closed)

    assert refusal(lambda: decode_json(body, LIMITS)).kind is ErrorKind.INVALID


@pytest.mark.parametrize("decode", [by_binary, by_grpc])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (struct.pack("<I", 3) + b"abc" + struct.pack("<I", 9) + b"ab", "BYTES element 1 claims 9 bytes, 2 are left"),
        (struct.pack("<I", 0xFFFFFFFF) + b"abcd", "BYTES element 0 claims 4294967295 bytes, 4 are left"),
        (struct.pack("<I", 8) + b"abcd" + struct.pack("<I", 0), "BYTES data ends before element 1 of 2"),
        (struct.pack("<I", 2) + b"ab\0\0", "BYTES data ends before element 1 of 2"),
        (struct.pack("<II", 0, 0) + b"x", "1 bytes are left after the last of 2 BYTES elements"),
        (b"\0\0\0", "2 BYTES elements need at least 8 bytes, got 3"),
    ],
)
def test_bytes_framing_cannot_lie(decode: Decode, data: bytes, message: str) -> None:
    """Every length prefix is checked against what is left, and the count against the shape."""
    assert message in refusal(lambda: decode("BYTES", [2], data)).message


@pytest.mark.parametrize(
    "decode",
    [
        lambda body: decode_json(body, LIMITS),
        lambda body: decode_binary(body, 0, LIMITS),
        lambda body: decode_infer(body, LIMITS),
    ],
    ids=["json", "binary", "grpc"],
)
def test_a_body_over_the_limit_is_not_parsed(decode: Callable[[bytes], object]) -> None:
    """Size comes before syntax."""
    body = bytes(LIMITS.max_body_bytes + 1)

    error = refusal(lambda: decode(body))

    assert error.kind is ErrorKind.TOO_LARGE
    assert error.message == "the body has 67108865 bytes, the limit is 67108864"


@pytest.mark.parametrize("field", ["inputs", "outputs"])
def test_tensors_are_counted(field: str) -> None:
    """Over both protocols, inputs and outputs alike."""
    entries: list[Any] = [{"name": str(i), "datatype": "UINT8", "shape": [0], "data": []} for i in range(257)]
    message = pb.ModelInferRequest()
    for entry in entries:
        getattr(message, field).add(name=entry["name"])

    over_http = refusal(lambda: decode_json(json.dumps({"inputs": [], field: entries}).encode(), LIMITS))
    over_grpc = refusal(lambda: decode_infer(message.SerializeToString(), LIMITS))

    assert over_http.kind is over_grpc.kind is ErrorKind.TOO_LARGE
    assert over_http.message == over_grpc.message == f"{field}: 257 tensors, the limit is 256"


def test_a_message_of_millions_of_empty_tensors_is_refused_unparsed() -> None:
    """Two bytes on the wire would be a hundred in memory each."""
    body = b"\x2a\x00" * (8 << 20)

    assert refusal(lambda: decode_infer(body, LIMITS)).kind is ErrorKind.TOO_LARGE


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT64"])
def test_a_number_of_thousands_of_digits_is_refused(digits: int, datatype: str) -> None:
    """Neither slow to read nor rounded to infinity."""
    tensor = b'{"name":"x","datatype":"%b","shape":[1],"data":[%b]}' % (datatype.encode(), b"9" * digits)

    assert refusal(lambda: decode_json(b'{"inputs":[%b]}' % tensor, LIMITS)).kind is ErrorKind.INVALID


def test_a_duplicate_name_is_refused_over_both_protocols() -> None:
    """Which of the two would the model see?"""
    tensor = {"name": "x", "datatype": "UINT8", "shape": [1], "data": [1]}
    message = pb.ModelInferRequest(raw_input_contents=[b"a", b"b"])
    for _ in range(2):
        message.inputs.add(name="x", datatype="UINT8", shape=[1])

    over_http = refusal(lambda: decode_json(json.dumps({"inputs": [tensor, tensor]}).encode(), LIMITS))
    over_grpc = refusal(lambda: decode_infer(message.SerializeToString(), LIMITS))

    assert over_http.message == over_grpc.message == 'inputs: "x" appears more than once'


@pytest.mark.parametrize("text", [rb"\ud800", b"\x80", b"\xed\xa0\x80"])
def test_text_that_is_no_unicode_is_refused(text: bytes) -> None:
    r"""A lone `\ud800` and broken UTF-8 pass for JSON syntax and are no text."""
    body = b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["%b"]}]}' % text

    assert refusal(lambda: decode_json(body, LIMITS)).kind is ErrorKind.INVALID


@pytest.mark.parametrize("name", ["triton_final_response", "triton_", "triton_anything"])
def test_names_that_only_a_server_may_set_are_refused(name: str) -> None:
    """A backend that is a Triton would take them for the gateway's own word."""
    message = pb.ModelInferRequest()
    message.parameters[name].bool_param = True

    over_json = refusal(lambda: decode_json(json.dumps({"inputs": [], "parameters": {name: True}}).encode(), LIMITS))
    over_grpc = refusal(lambda: decode_infer(message.SerializeToString(), LIMITS))

    assert over_json.kind is over_grpc.kind is ErrorKind.INVALID
    assert "reserved" in over_json.message


def test_the_one_reserved_name_that_stream_clients_send_is_accepted() -> None:
    """`enable_empty_final_response` of tritonclient."""
    body = {"inputs": [], "parameters": {"triton_enable_empty_final_response": True}}

    assert decode_json(json.dumps(body).encode(), LIMITS).parameters == body["parameters"]


def long_names_by_json(field: str, name: str) -> object:
    tensor = {"name": "x", "datatype": "UINT8", "shape": [1], "data": [0]}
    body: dict[str, Any] = {"inputs": [tensor, {**tensor, "name": name}]} if field == "inputs" else {"inputs": [tensor]}
    if field == "outputs":
        body["outputs"] = [{"name": "y"}, {"name": name}]
    elif field == "sequence_id":
        body["parameters"] = {"sequence_id": name}
    return decode_json(json.dumps(body).encode(), LIMITS)


def long_names_by_grpc(field: str, name: str) -> object:
    message = pb.ModelInferRequest()
    for each in ("x", name) if field == "inputs" else ("x",):
        message.inputs.add(name=each, datatype="UINT8", shape=[1])
        message.raw_input_contents.append(b"0")
    if field == "outputs":
        message.outputs.add(name="y")
        message.outputs.add(name=name)
    elif field == "sequence_id":
        message.parameters["sequence_id"].string_param = name
    return decode_infer(message.SerializeToString(), LIMITS)


@pytest.mark.parametrize("decode", [long_names_by_json, long_names_by_grpc])
@pytest.mark.parametrize(
    ("field", "named"),
    [("inputs", "inputs[1].name"), ("outputs", "outputs[1].name"), ("sequence_id", "parameters.sequence_id")],
)
def test_a_name_cannot_be_as_long_as_a_body(decode: Callable[[str, str], object], field: str, named: str) -> None:
    """Names and sequence ids outlive their request, in caches and tables: of 256 characters at most."""
    decode(field, "n" * 256)

    with pytest.raises(ServingError) as raised:
        decode(field, "n" * 257)

    assert raised.value.kind is ErrorKind.INVALID
    assert raised.value.message == f"{named}: has 257 characters, the limit is 256"


def test_headers_of_clients_own_making_do_not_pile_up() -> None:
    """What packing and unpacking remember is bounded in bytes, however many different headers come."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(2000):
            tensors = tuple(Tensor(f"{number}-{index}" + "n" * 240, "UINT8", (1,), b"0") for index in range(32))
            unpack_tensors(pack_tensors(tensors))
        assert tracemalloc.get_traced_memory()[0] - before < 16 << 20
    finally:
        tracemalloc.stop()
