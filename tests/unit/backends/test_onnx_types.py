"""The rule that flattens sequences and maps, where it is hard to make a model for."""

from __future__ import annotations

from typing import Any

import pytest

from serving.backends.onnx_types import flatten_output, output_form, tensor_spec
from serving.protocol.errors import ErrorKind, ServingError


def flattened(onnx_type: str, value: Any) -> dict[str, Any]:
    return {name: array.tolist() for name, array in flatten_output(output_form("p", onnx_type, []), value).items()}


def test_string_keys_become_bytes() -> None:
    """Class names travel as BYTES."""
    value = [{"cat": 0.25, "dog": 0.75}, {"cat": 1.0, "dog": 0.0}]

    tensors = flattened("seq(map(string,tensor(float)))", value)

    assert tensors == {"p": [[0.25, 0.75], [1.0, 0.0]], "p.keys": [b"cat", b"dog"]}


def test_rows_are_aligned_by_key_not_by_position() -> None:
    """Maps have no order; the first one's order is taken for all."""
    tensors = flattened("seq(map(int64,tensor(double)))", [{1: 0.1, 2: 0.2}, {2: 0.4, 1: 0.3}])

    assert tensors == {"p": [[0.1, 0.2], [0.3, 0.4]], "p.keys": [1, 2]}


def test_a_single_map_has_no_batch_axis() -> None:
    """`map(K, V)` of K entries: `<name>` [K] and `<name>.keys` [K]."""
    assert flattened("map(int64,tensor(float))", {7: 1.0, 8: 2.0}) == {"p": [1.0, 2.0], "p.keys": [7, 8]}


def test_an_empty_sequence_has_no_rows() -> None:
    """No maps: no rows and no keys."""
    assert flattened("seq(map(int64,tensor(float)))", []) == {"p": [], "p.keys": []}


def test_maps_with_different_keys_are_refused() -> None:
    """A hole would have to be filled with a value that the model never gave."""
    with pytest.raises(ServingError) as caught:
        flattened("seq(map(int64,tensor(float)))", [{1: 0.1}, {2: 0.2}])

    assert caught.value.kind is ErrorKind.MODEL_FAILED


@pytest.mark.parametrize("onnx_type", ["seq(tensor(float))", "map(int64,tensor(float))", "optional(tensor(float))"])
def test_inputs_must_be_tensors(onnx_type: str) -> None:
    """The protocol has no way to send anything else."""
    with pytest.raises(ServingError, match="only tensors"):
        tensor_spec("x", onnx_type, [])


def test_an_element_type_without_a_datatype_is_refused_by_name() -> None:
    """Float8 and complex numbers have no V2 datatype."""
    with pytest.raises(ServingError, match="float8e4m3fn"):
        tensor_spec("x", "tensor(float8e4m3fn)", [1])
