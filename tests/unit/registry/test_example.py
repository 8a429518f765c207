"""Inputs are found in MLflow's input examples where they fit the model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serving.protocol.arrays import to_array
from serving.protocol.messages import Signature, TensorSpec
from serving.registry.example import generated_inputs, inputs_from_mlflow

MATRIX = Signature((TensorSpec("x", "FP32", (-1, 2)),), ())
COLUMNS = Signature((TensorSpec("age", "FP32", (-1, 1)), TensorSpec("name", "BYTES", (-1, 1))), ())


def found(document: Any, signature: Signature) -> dict[str, Any] | None:
    inputs = inputs_from_mlflow(json.dumps(document).encode(), signature)
    return None if inputs is None else {tensor.name: to_array(tensor).tolist() for tensor in inputs}


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": [[1, 2], [3, 4]]},
        {"inputs": {"x": [[1, 2], [3, 4]]}},
        [[1, 2], [3, 4]],
        {"x": [[1, 2], [3, 4]]},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}},
        {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]},
    ],
)
def test_each_form_of_example_becomes_the_models_input(document: Any) -> None:
    """Arrays, arrays by name, data frames; as served and as logged."""
    assert found(document, MATRIX) == {"x": [[1, 2], [3, 4]]}


def test_the_columns_of_a_frame_are_the_inputs_of_a_model_with_several() -> None:
    """Each as a column of its own, which is what scikit-learn's converters take."""
    frame = {"dataframe_split": {"columns": ["name", "age"], "data": [["ada", 36], ["alan", 41]]}}

    assert found(frame, COLUMNS) == {"age": [[36], [41]], "name": [[b"ada"], [b"alan"]]}


@pytest.mark.parametrize(
    "document", [{"inputs": [[1, 2, 3]]}, {"inputs": {"z": [[1, 2]]}}, {"inputs": "text"}, 7, {"dataframe_split": {}}]
)
def test_an_example_that_does_not_fit_is_left_aside(document: Any) -> None:
    """It was meant for a pipeline around the model."""
    assert found(document, MATRIX) is None


def test_generated_inputs_fit_the_signature() -> None:
    """Dynamic sizes are 1; floats 1, all else zero or empty."""
    age, name = generated_inputs(COLUMNS)

    assert (to_array(age).tolist(), to_array(name).tolist()) == ([[1.0]], [[b""]])


def test_an_example_that_is_nested_too_deeply_is_left_aside() -> None:
    """As one that is no JSON."""
    assert inputs_from_mlflow(b"[" * 100_000, MATRIX) is None
