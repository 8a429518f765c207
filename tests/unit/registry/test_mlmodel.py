"""The card of an MLflow model is read for names of files, and for nothing else."""

from __future__ import annotations

import pytest

from serving.protocol.errors import ServingError
from serving.protocol.messages import Signature, TensorSpec
from serving.registry.mlmodel import ModelCard, parse_mlmodel, render_mlmodel

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "BYTES", (-1,)),))


def test_what_is_written_is_read_back() -> None:
    """Our own cards name `model.onnx`, or no file."""
    arguments = {"run_id": "r", "created_at": "2026-01-01 00:00:00"}

    assert parse_mlmodel(render_mlmodel(SIGNATURE, has_onnx=True, **arguments)) == ModelCard(
        "model.onnx", None, SIGNATURE
    )
    assert parse_mlmodel(render_mlmodel(SIGNATURE, has_onnx=False, **arguments)) == ModelCard(None, None, SIGNATURE)


@pytest.mark.parametrize(
    "inputs",
    [
        "7",
        "'{'",
        """'[{"type": "double", "name": "a"}]'""",
        "null",
        """'[{"tensor-spec": {"dtype": "c8"}}]'""",
        f"'{'[' * 100_000}'",
    ],
)
def test_a_signature_of_columns_or_nonsense_declares_no_tensors(inputs: str) -> None:
    """The graph itself is what is served."""
    assert parse_mlmodel(f"signature: {{inputs: {inputs}, outputs: null}}").signature is None


def test_the_serving_example_is_preferred_to_the_raw_one() -> None:
    """It says what its lists mean."""
    card = """
flavors: {onnx: {data: model.onnx}, python_function: {loader_module: os}}
saved_input_example_info: {artifact_path: input_example.json, serving_input_path: serving_input_example.json}
"""

    assert parse_mlmodel(card) == ModelCard("model.onnx", "serving_input_example.json")


@pytest.mark.parametrize(
    "card",
    [
        "flavors: [",
        "- a list",
        "!!python/object/apply:os.system ['true']",
        "flavors: {onnx: {data: ../model.onnx}}",
        "flavors: {onnx: {data: /etc/model.onnx}}",
        "[" * 20_000,
        "a: " + "{a: " * 20_000,
    ],
)
def test_a_card_that_is_none_or_leads_astray_is_refused(card: str) -> None:
    """YAML tags make no objects, and paths stay inside."""
    with pytest.raises(ServingError, match=r"MLmodel|leads out"):
        parse_mlmodel(card)


@pytest.mark.parametrize("card", ["{}", "flavors: 7", "flavors: {onnx: null}", "flavors: {onnx: {data: 7}}"])
def test_a_card_of_another_flavor_names_no_file(card: str) -> None:
    """Whether that matters is for the backend to say."""
    assert parse_mlmodel(card).onnx_file is None


@pytest.mark.parametrize("stranger", ["!!int x", "!!bool x", "!!timestamp x", "2026-99-99", "9" * 5000])
def test_only_what_is_asked_for_is_read(stranger: str) -> None:
    """A value that YAML could not make is nobody's business where nobody asks for it."""
    assert (
        parse_mlmodel(f"flavors: {{onnx: {{data: model.onnx}}}}\nutc_time_created: {stranger}").onnx_file
        == "model.onnx"
    )


def test_merges_of_merges_take_no_memory() -> None:
    """Ten merges of ten merges of ten: a card of a kilobyte, made into values, would fill any machine."""
    merges = "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 12))

    assert parse_mlmodel(f"a0: &a0 {{x: y}}\n{merges}flavors: {{onnx: {{data: m.onnx}}}}").onnx_file == "m.onnx"
