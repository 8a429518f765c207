"""How a V2 JSON request is read (Open Inference Protocol v2, "Inference")."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from serving.protocol.elements import join_elements
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.json_codec import decode_json
from serving.protocol.messages import InferRequest, Limits, RequestedOutput, Tensor

LIMITS = Limits()


def decode(limits: Limits = LIMITS, **document: Any) -> InferRequest:
    return decode_json(json.dumps(document).encode(), limits)


def one_input(datatype: str, shape: list[int], data: Any, **more: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": shape, "data": data, **more}


def refusal(**document: Any) -> ServingError:
    with pytest.raises(ServingError) as raised:
        decode(**document)
    return raised.value


def input_refusal(datatype: str, shape: list[int], data: Any, **more: Any) -> str:
    error = refusal(inputs=[one_input(datatype, shape, data, **more)])
    assert error.kind is ErrorKind.INVALID
    return error.message


def test_a_request_becomes_raw_tensors_and_what_it_asks_for() -> None:
    """Data is little-endian and row-major; wire matters do not stay among the parameters."""
    request = decode(
        id="7",
        inputs=[one_input("FP32", [1, 2], [0.5, -1])],
        outputs=[
            {"name": "y", "parameters": {"classification": 3}},
            {"name": "z", "parameters": {"binary_data": True}},
        ],
        parameters={"priority": 1, "sequence_id": "s", "timeout": 1.5, "sequence_start": True},
    )

    assert request == InferRequest(
        inputs=(Tensor("x", "FP32", (1, 2), struct.pack("<2f", 0.5, -1)),),
        outputs=(RequestedOutput("y", class_count=3), RequestedOutput("z", binary=True)),
        id="7",
        parameters={"priority": 1, "sequence_id": "s", "timeout": 1.5, "sequence_start": True},
    )


def test_binary_data_output_is_the_default_of_every_output() -> None:
    """`binary_data` of one output overrules it."""
    request = decode(
        inputs=[],
        outputs=[{"name": "y"}, {"name": "z", "parameters": {"binary_data": False}}],
        parameters={"binary_data_output": True},
    )

    assert request.binary_output
    assert request.outputs == (RequestedOutput("y", binary=True), RequestedOutput("z", binary=False))
    assert request.parameters == {}


def test_optional_members_may_be_absent_or_null() -> None:
    """Many clients print unset members as null."""
    assert decode(inputs=[]) == decode(inputs=[], id=None, outputs=None, parameters=None)


def test_members_the_protocol_does_not_know_are_ignored() -> None:
    """As Triton ignores them, at the top and in a tensor."""
    tensor = one_input("UINT8", [1], [1])

    assert decode(inputs=[{**tensor, "colour": {"deep": [1]}}], comment=[[1]]) == decode(inputs=[tensor])


@pytest.mark.parametrize(
    ("datatype", "data", "raw"),
    [
        ("BOOL", [True, False], b"\1\0"),
        ("UINT8", [0, 255], b"\x00\xff"),
        ("INT8", [-128, 127], b"\x80\x7f"),
        ("UINT16", [1, 65535], b"\x01\x00\xff\xff"),
        ("INT16", [-1, 2], b"\xff\xff\x02\x00"),
        ("UINT32", [1, 2**32 - 1], b"\x01\0\0\0\xff\xff\xff\xff"),
        ("INT32", [-(2**31), 1], b"\0\0\0\x80\x01\0\0\0"),
        ("UINT64", [0, 2**64 - 1], b"\0" * 8 + b"\xff" * 8),
        ("INT64", [-1, 1], b"\xff" * 8 + b"\x01" + b"\0" * 7),
        ("FP16", [1, -2.0], b"\x00\x3c\x00\xc0"),
        ("BF16", [1, -2.0], b"\x80\x3f\x00\xc0"),
        ("FP32", [1, -2.0], struct.pack("<2f", 1, -2)),
        ("FP64", [0.1, 1e300], struct.pack("<2d", 0.1, 1e300)),
        ("BYTES", ["", "é"], b"\0\0\0\0\x02\0\0\0\xc3\xa9"),
    ],
)
def test_every_datatype_has_its_raw_form(datatype: str, data: list[Any], raw: bytes) -> None:
    """Little-endian at the datatype's width; BYTES elements after their length, text as UTF-8."""
    assert decode(inputs=[one_input(datatype, [2], data)]).inputs[0].data == raw


@pytest.mark.parametrize(
    ("value", "bits"), [(1.00390625, 0x3F80), (1.01171875, 0x3F82), (3.3895313892515355e38, 0x7F7F)]
)
def test_bf16_rounds_to_nearest_ties_to_even(value: float, bits: int) -> None:
    """IEEE 754 roundTiesToEven, up to the largest BF16."""
    assert decode(inputs=[one_input("BF16", [1], [value])]).inputs[0].data == struct.pack("<H", bits)


@pytest.mark.parametrize(
    ("shape", "flat", "nested"),
    [
        ([], [5], 5),
        ([2, 3], [1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]),
        ([2, 1, 2], [1, 2, 3, 4], [[[1, 2]], [[3, 4]]]),
        ([2, 0], [], [[], []]),
        ([0, 2], [], []),
    ],
)
def test_data_may_be_flat_or_nested(shape: list[int], flat: list[int], nested: Any) -> None:
    """Row-major either way; rank 0 nests as a bare value."""
    assert decode(inputs=[one_input("INT32", shape, flat)]) == decode(inputs=[one_input("INT32", shape, nested)])


def test_nested_text_may_hold_brackets() -> None:
    """Nesting is told by the first brackets alone."""
    request = decode(inputs=[one_input("BYTES", [1, 2], ["[[", "]"])])

    assert request.inputs[0].data == join_elements([b"[[", b"]"])


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64"])
def test_null_is_nan_in_floating_point_data(datatype: str) -> None:
    """JSON has no NaN; a missing feature is null, flat or nested."""
    flat = decode(inputs=[one_input(datatype, [1, 2], [None, 1])]).inputs[0]
    nested = decode(inputs=[one_input(datatype, [1, 2], [[None, 1]])]).inputs[0]

    assert flat == nested
    if datatype != "BF16":
        values = np.frombuffer(flat.data, {"FP16": "f2", "FP32": "f4", "FP64": "f8"}[datatype])
        assert np.isnan(values[0])
        assert values[1] == 1


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "message"),
    [
        ("FP32", [2, 3], [1] * 5, "shape [2,3] needs 6 elements, data has 5"),
        ("FP32", [2, 3], [[1, 2, 3], [4, 5]], "data has 2 entries along axis 1, shape [2,3] says 3"),
        ("FP32", [2, 3], [[1, 2, 3]], "data has 1 entries along axis 0, shape [2,3] says 2"),
        ("FP32", [1], ["a"], "data[0]: Expected `float | null`, got `str`"),
        ("FP32", [2, 1], [[1], ["a"]], "data[1][0]: Expected `float | null`, got `str`"),
        ("FP32", [1], [1e39], "element 0 of data is out of range for FP32"),
        ("FP16", [2], [1, 65520], "element 1 of data is out of range for FP16"),
        ("BF16", [2], [1, 3.4e38], "element 1 of data is out of range for BF16"),
        ("UINT8", [2], [1, 256], "element 1 of data is out of range for UINT8"),
        ("UINT64", [1], [-1], "element 0 of data is out of range for UINT64"),
        ("INT64", [1], [2**63], "element 0 of data is out of range for INT64"),
        ("INT32", [1], [1.5], "data[0]: Expected `int`, got `float`"),
        ("INT32", [1], [None], "data[0]: Expected `int`, got `null`"),
        ("INT32", [1], [True], "data[0]: Expected `int`, got `bool`"),
        ("BOOL", [1], [1], "data[0]: Expected `bool`, got `int`"),
        ("BYTES", [1], [1], "data[0]: Expected `str`, got `int`"),
        ("FP32", [1], {"a": 1}, "data: Expected `array`, got `object`"),
        ("FP8", [1], [1], 'datatype "FP8" is not one of BOOL, UINT8, '),
        ("FP32", [-1], [1], "shape [-1] has a negative dimension"),
    ],
)
def test_data_that_does_not_fit_is_refused_by_name(datatype: str, shape: list[int], data: Any, message: str) -> None:
    """The message names the tensor, the place in it and what was wrong."""
    assert input_refusal(datatype, shape, data).startswith(f'inputs[0] "x": {message}')


def test_missing_data_is_refused() -> None:
    """An input carries its data or says where it is."""
    assert refusal(inputs=[{"name": "x", "datatype": "FP32", "shape": [1]}]).message == 'inputs[0] "x": data is missing'


def test_binary_data_needs_the_http_header() -> None:
    """Without `Inference-Header-Content-Length` nobody knows where the data starts."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}

    assert "needs the header Inference-Header-Content-Length" in refusal(inputs=[tensor]).message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "request: Object missing required field `inputs`"),
        ({"inputs": {}}, "inputs: Expected `array`, got `object`"),
        ({"inputs": [{}]}, "inputs[0]: Object missing required field `name`"),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1.5]}]},
            "inputs[0].shape[0]: Expected `int`, got `float`",
        ),
        ({"inputs": [], "id": 3}, "id: Expected `str | null`, got `int`"),
        ({"inputs": [], "parameters": {"p": [1]}}, "parameters[...]: Expected `bool | int | float | str`, got `array`"),
        ({"inputs": [], "parameters": {"p": 1 << 64}}, 'parameters: "p" is beyond 64 bits'),
        (
            {"inputs": [], "parameters": {"binary_data_output": 1}},
            "parameters.binary_data_output must be true or false",
        ),
        (
            {"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": "yes"}}]},
            'outputs[0] "y": parameters.binary_data must be true or false',
        ),
        (
            {"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": -1}}]},
            'outputs[0] "y": parameters.classification must be a whole number, 0 or more',
        ),
        ({"inputs": [], "outputs": [{"name": "y"}, {"name": "y"}]}, 'outputs: "y" appears more than once'),
        ({"inputs": [one_input("UINT8", [1], [1])] * 2}, 'inputs: "x" appears more than once'),
    ],
)
def test_a_malformed_document_is_refused_with_its_place(document: dict[str, Any], message: str) -> None:
    """The place comes first, as clients write it."""
    error = refusal(**document)

    assert (error.kind, error.message) == (ErrorKind.INVALID, message)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b"[]", b'{"inputs":[NaN]}', b'\xff{"inputs":[]}', b'{"inputs":[]} x']
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    """Syntax errors are the client's."""
    with pytest.raises(ServingError) as raised:
        decode_json(body, LIMITS)

    assert raised.value.kind is ErrorKind.INVALID


@pytest.mark.parametrize("where", ["inputs", "outputs"])
def test_shared_memory_is_not_offered(where: str) -> None:
    """A region's name from the network must not choose memory of the server (CVE-2025-23319 and its chain)."""
    parameters = {"shared_memory_region": "r", "shared_memory_byte_size": 4}
    document: dict[str, Any] = {"inputs": []}
    document[where] = [{"name": "t", "datatype": "FP32", "shape": [1], "parameters": parameters}]

    error = refusal(**document)

    assert error.kind is ErrorKind.UNSUPPORTED
    assert error.message.startswith(f'{where}[0] "t": shared memory is not offered')
