"""The reader of ONNX files agrees with the `onnx` package, and survives anything."""

from __future__ import annotations

import contextlib
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from serving.backends.onnx_file import read_onnx_file
from serving.protocol.errors import ServingError
from tests import models


def test_opsets_are_those_that_the_model_imports() -> None:
    """By domain; the standard operators have a name that the file leaves empty."""
    model = onnx.load_from_string(models.mlp())
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))

    assert read_onnx_file(memoryview(model.SerializeToString())).opsets == {"ai.onnx": 17, "ai.onnx.ml": 3}


def test_external_files_are_found_by_the_path_as_written(tmp_path: Path) -> None:
    """Whether the path is acceptable is not asked here."""
    content = models.with_external_data(tmp_path, location="../weights.data").read_bytes()

    assert read_onnx_file(memoryview(content)).external_files == {"../weights.data"}


def test_external_files_are_found_in_nested_graphs_too() -> None:
    """A branch's constant can lie outside like any weight."""
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="branch.data")
    constant = helper.make_node("Constant", [], ["y"])
    constant.attribute.append(onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=tensor))
    branch = helper.make_graph([constant], "branch", [], [])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    model = helper.make_model(helper.make_graph([node], "g", [], []))

    assert read_onnx_file(memoryview(model.SerializeToString())).external_files == {"branch.data"}


def test_a_model_without_external_data_has_none() -> None:
    """Weights inside the file are skipped."""
    assert read_onnx_file(memoryview(models.mlp())).external_files == frozenset()


@pytest.mark.parametrize("content", [b"this is not an ONNX model", b"\x08", b"\xff" * 20, b"\x3a\xff\xff\x03"])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    """With our error, not with an accident."""
    with pytest.raises(ServingError, match="no ONNX model"):
        read_onnx_file(memoryview(content))


@given(st.binary(), st.integers(0, 400))
def test_any_damage_is_survived(noise: bytes, place: int) -> None:
    """A damaged file is read or refused; it neither hangs nor raises anything else."""
    content = bytearray(models.two_inputs())
    content[place : place + len(noise)] = noise

    with contextlib.suppress(ServingError):
        read_onnx_file(memoryview(bytes(content)))


@pytest.mark.parametrize("place", ["initializer", "sparse", "attribute", "function", "training"])
def test_external_files_are_found_wherever_a_tensor_can_lie(place: str) -> None:
    """One place that is not looked at would be a way to read any file of the host."""
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    constant = helper.make_node("Constant", [], ["y"])
    constant.attribute.append(onnx.AttributeProto(name="values", type=onnx.AttributeProto.TENSORS, tensors=[tensor]))
    model = helper.make_model(helper.make_graph([], "g", [], []))
    if place == "initializer":
        model.graph.initializer.append(tensor)
    elif place == "sparse":
        model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=tensor))
    elif place == "attribute":
        model.graph.node.append(constant)
    elif place == "function":
        model.functions.append(helper.make_function("own", "f", [], ["y"], [constant], []))
    else:
        model.training_info.append(onnx.TrainingInfoProto(algorithm=helper.make_graph([constant], "t", [], [])))

    assert read_onnx_file(memoryview(model.SerializeToString())).external_files == {"/etc/passwd"}


def test_operators_of_a_foreign_domain_are_custom_unless_the_model_defines_them() -> None:
    """Functions of the model's own are graphs; anything else would be a library, which is code."""
    own = helper.make_function("own", "f", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [])
    nodes = [
        helper.make_node("f", ["x"], ["a"], domain="own"),
        helper.make_node("g", ["a"], ["b"], domain="own"),
        helper.make_node("Gelu", ["b"], ["c"], domain="com.microsoft"),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []), functions=[own])

    assert read_onnx_file(memoryview(model.SerializeToString())).custom_operators == {"own.g"}
