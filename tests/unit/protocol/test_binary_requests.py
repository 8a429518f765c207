"""How a request of the binary tensor data extension is read."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from serving.protocol.binary_codec import decode_binary
from serving.protocol.elements import join_elements
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import InferRequest, Limits, Tensor

LIMITS = Limits()


def member(name: str, datatype: str, shape: list[int], size: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


def decode(tail: bytes, *inputs: dict[str, Any]) -> InferRequest:
    header = json.dumps({"inputs": inputs}).encode()
    return decode_binary(header + tail, len(header), LIMITS)


def refusal(tail: bytes, *inputs: dict[str, Any]) -> str:
    with pytest.raises(ServingError) as raised:
        decode(tail, *inputs)
    assert raised.value.kind is ErrorKind.INVALID
    return raised.value.message


def test_inputs_take_their_bytes_in_order() -> None:
    """JSON inputs between them take none."""
    numbers = struct.pack("<2f", 1, 2)
    words = join_elements([b"\xff", b""])
    inline = {"name": "j", "datatype": "UINT8", "shape": [1], "data": [7]}

    request = decode(numbers + words, member("a", "FP32", [2], 8), inline, member("b", "BYTES", [1, 2], 9))

    assert request.inputs == (
        Tensor("a", "FP32", (2,), numbers),
        Tensor("j", "UINT8", (1,), b"\7"),
        Tensor("b", "BYTES", (1, 2), words),
    )


def test_binary_inputs_are_views_of_the_body() -> None:
    """Nothing is copied."""
    header = json.dumps({"inputs": [member("a", "UINT8", [3], 3)]}).encode()
    body = header + b"abc"

    data = decode_binary(body, len(header), LIMITS).inputs[0].data

    assert isinstance(data, memoryview)
    assert data.obj is body


def test_a_header_may_fill_the_body() -> None:
    """Then every input is in the JSON, or empty."""
    assert decode(b"", member("e", "FP32", [0, 4], 0)).inputs == (Tensor("e", "FP32", (0, 4), b""),)


@pytest.mark.parametrize(
    ("tail", "inputs", "message"),
    [
        (b"\0" * 20, [member("x", "FP32", [2, 3], 20)], "shape [2,3] needs 24 bytes of FP32 data, got 20"),
        (b"\0" * 20, [member("x", "FP32", [6], 24)], "binary_data_size is 24, 20 bytes are left in the body"),
        (b"", [member("x", "FP32", [0], -1)], "parameters.binary_data_size must be a whole number of bytes"),
        (b"", [member("x", "FP32", [0], True)], "parameters.binary_data_size must be a whole number of bytes"),
        (b"", [member("x", "FP32", [0], "0")], "parameters.binary_data_size must be a whole number of bytes"),
        (b"\2", [member("x", "BOOL", [1], 1)], "BOOL data has a byte other than 0 and 1"),
        (b"", [{**member("x", "FP32", [0], 0), "data": []}], "has both data and binary_data_size"),
        (b"abcd", [member("x", "FP9", [1], 4)], 'datatype "FP9" is not one of BOOL'),
    ],
)
def test_bytes_that_do_not_fit_are_refused_by_name(tail: bytes, inputs: list[dict[str, Any]], message: str) -> None:
    """The message names the tensor, what it declares and what came."""
    assert refusal(tail, *inputs).startswith(f'inputs[0] "x": {message}')


def test_bytes_that_belong_to_no_input_are_refused() -> None:
    """Sizes must add up to the body."""
    assert refusal(b"\0" * 5, member("x", "FP32", [1], 4)) == "1 bytes of the body belong to no input"
