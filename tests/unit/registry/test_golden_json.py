"""Golden examples are kept as V2 JSON, with nothing lost."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from serving.protocol.arrays import to_array, to_tensor
from serving.protocol.datatypes import DATATYPES
from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.golden_json import decode_request, decode_response, encode_request, encode_response

SHAPES = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


def example(**changes: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]} | changes
    return json.dumps({"inputs": [tensor]}).encode()


@pytest.mark.parametrize("datatype", sorted(set(DATATYPES) - {"BYTES"}))
@given(data=st.data())
def test_numbers_come_back_bit_by_bit(datatype: str, data: st.DataObject) -> None:
    """Every digit of every datatype, infinities included; a NaN comes back as a NaN."""
    array = data.draw(npst.arrays(DATATYPES[datatype].dtype, SHAPES))
    tensor = to_tensor("y", array, datatype)

    (back,) = decode_response(encode_response([tensor]))

    assert (back.name, back.datatype, back.shape) == (tensor.name, tensor.datatype, tensor.shape)
    if datatype == "BF16":
        widened, again = (to_array(one).astype(np.uint32) << 16 for one in (tensor, back))
        assert np.array_equal(widened.view(np.float32), again.view(np.float32), equal_nan=True)
    else:
        assert np.array_equal(to_array(back), array, equal_nan=array.dtype.kind == "f")


@given(st.lists(st.binary()))
def test_bytes_come_back_whether_or_not_they_are_text(elements: list[bytes]) -> None:
    """BYTES are bytes."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements

    (back,) = decode_response(encode_response([to_tensor("x", array)]))

    assert to_array(back).tolist() == elements


def test_an_example_comes_back_as_it_was_read() -> None:
    """What is stored is the request without its ornaments."""
    inputs = decode_request(example(parameters={}))

    assert decode_request(encode_request(inputs)) == inputs


def test_missing_values_in_an_example_are_nan_and_stay_so() -> None:
    """As in any JSON request."""
    (tensor,) = decode_request(encode_request(decode_request(example(data=[1, 2, 3, None]))))

    assert np.array_equal(to_array(tensor), np.array([[1, 2], [3, np.nan]], np.float32), equal_nan=True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "example: request"),
        (b"{}", "example: request"),
        (example(datatype="FLOAT"), "FLOAT"),
        (example(data=[1, 2, 3]), "needs 4 elements, data has 3"),
        (example(datatype="UINT8", data=[1, 2, 3, 256]), "out of range for UINT8"),
    ],
)
def test_a_wrong_example_is_refused_with_the_field(content: bytes, reason: str) -> None:
    """By the same words as a client's request."""
    with pytest.raises(ServingError) as caught:
        decode_request(content)

    assert caught.value.kind is ErrorKind.INVALID
    assert reason in caught.value.message


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"outputs": [{"name": "y", "datatype": "FP33", "shape": [1], "data": [1]}]}']
)
def test_an_answer_that_nobody_of_us_has_written_is_refused(content: bytes) -> None:
    """It lies among files that others can write."""
    with pytest.raises(ServingError, match="golden answer"):
        decode_response(content)
