"""How a V2 answer is written as JSON and with binary data."""

from __future__ import annotations

import json
import math
import struct

import pytest

from serving.protocol.binary_codec import encode_response
from serving.protocol.elements import join_elements
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.json_codec import encode_json
from serving.protocol.messages import InferRequest, InferResponse, RequestedOutput, Tensor

SCORES = Tensor("scores", "FP32", (1, 2), struct.pack("<2f", 0.5, 0.25))
LABELS = Tensor("labels", "BYTES", (2,), join_elements([b"cat", "chât".encode()]))


def test_an_answer_is_one_json_document() -> None:
    """Members as Triton prints them; BYTES as text."""
    answer = InferResponse("m", "3", (SCORES, LABELS), "7", {"sequence_id": 1})

    assert json.loads(encode_json(answer)) == {
        "model_name": "m",
        "model_version": "3",
        "id": "7",
        "parameters": {"sequence_id": 1},
        "outputs": [
            {"name": "scores", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 0.25]},
            {"name": "labels", "datatype": "BYTES", "shape": [2], "data": ["cat", "chât"]},
        ],
    }


def test_an_id_that_was_not_given_is_not_answered() -> None:
    """Unset members are left out."""
    assert set(json.loads(encode_json(InferResponse("m", "3", ())))) == {"model_name", "model_version", "outputs"}


def test_numbers_that_json_lacks_print_as_null() -> None:
    """NaN and the infinities, as `JSON.stringify` does; binary data tells them apart."""
    odd = Tensor("y", "FP64", (4,), struct.pack("<4d", math.nan, math.inf, -math.inf, 1))

    assert b'"data":[null,null,null,1.0]' in encode_json(InferResponse("m", "1", (odd,)))


def test_an_empty_tensor_still_has_data() -> None:
    """`data` is required of an output, even when nothing is in it."""
    empty = Tensor("y", "FP32", (0, 3), b"")

    assert b'"shape":[0,3],"data":[]' in encode_json(InferResponse("m", "1", (empty,)))


def test_bytes_that_are_not_text_are_refused_with_the_way_out() -> None:
    """JSON strings are Unicode; such an output must be asked for as binary data."""
    blob = Tensor("blob", "BYTES", (2,), join_elements([b"ok", b"\xff\xfe"]))

    with pytest.raises(ServingError) as raised:
        encode_json(InferResponse("m", "1", (blob,)))

    assert raised.value.kind is ErrorKind.INVALID
    assert raised.value.message == (
        'outputs "blob": element 1 is not UTF-8, so JSON cannot carry it: ask for binary data'
    )


def test_each_output_goes_the_way_it_was_asked_for() -> None:
    """Raw data follows the JSON in the order of its outputs, uncopied."""
    request = InferRequest((), (RequestedOutput("scores", binary=True), RequestedOutput("labels")))

    (header, *data), length = encode_response(InferResponse("m", "1", (LABELS, SCORES)), request)

    assert length == len(header)
    assert json.loads(bytes(header))["outputs"] == [
        {"name": "labels", "datatype": "BYTES", "shape": [2], "data": ["cat", "chât"]},
        {"name": "scores", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
    ]
    assert len(data) == 1
    assert data[0] is SCORES.data


def test_all_outputs_are_binary_when_the_request_says_so_once() -> None:
    """`binary_data_output` without a list of outputs."""
    (_, *data), length = encode_response(
        InferResponse("m", "1", (LABELS, SCORES)), InferRequest((), binary_output=True)
    )

    assert length is not None
    assert data == [LABELS.data, SCORES.data]


@pytest.mark.parametrize(
    "request_",
    [
        InferRequest(()),
        InferRequest((), (RequestedOutput("scores"),)),
        InferRequest((), (RequestedOutput("scores"),), binary_output=True),
    ],
)
def test_an_answer_without_binary_data_has_no_header_length(request_: InferRequest) -> None:
    """None tells the door to send plain JSON."""
    answer = InferResponse("m", "1", (SCORES,))

    assert encode_response(answer, request_) == ([encode_json(answer)], None)
