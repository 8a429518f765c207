"""The ONNX backend: signatures, answers and failures of real models in a real onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from serving.backends.example import stacked, synthetic_inputs
from serving.backends.onnx import OnnxBackend, OnnxOptions
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import TensorSpec
from tests import models

Load = Callable[[bytes], OnnxBackend]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_model(content: bytes) -> OnnxBackend:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        backend = OnnxBackend(path)
        backend.load()
        return backend

    return load_model


def float32(*rows: object) -> np.ndarray:
    return np.array(rows, np.float32)


# ── signatures ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_symbolic_axes_are_dynamic_in_the_signature(load: Load) -> None:
    """What ONNX names symbolically, V2 calls -1."""
    signature = load(models.mlp()).signature

    assert signature.inputs == (TensorSpec("features", "FP32", (-1, 16)),)
    assert signature.outputs == (TensorSpec("probabilities", "FP32", (-1, 3)),)
    assert signature.platform == "onnxruntime_onnx"


@pytest.mark.parametrize(
    ("element_type", "datatype"),
    [
        (TensorProto.BOOL, "BOOL"),
        (TensorProto.UINT8, "UINT8"),
        (TensorProto.UINT64, "UINT64"),
        (TensorProto.INT32, "INT32"),
        (TensorProto.FLOAT16, "FP16"),
        (TensorProto.BFLOAT16, "BF16"),
        (TensorProto.DOUBLE, "FP64"),
        (TensorProto.STRING, "BYTES"),
    ],
)
def test_each_element_type_has_its_datatype(load: Load, element_type: int, datatype: str) -> None:
    """ONNX element types map to V2 datatypes one to one."""
    assert load(models.identity(element_type)).signature.inputs == (TensorSpec("x", datatype, (-1,)),)


@pytest.mark.parametrize(
    ("build", "batchable"),
    [
        (models.mlp, True),
        (models.two_inputs, True),
        (models.strings, True),
        (lambda: models.identity(shape=(None, 2)), True),
        (models.fixed_batch, False),
        (models.scalar_input, False),
        (models.unrelated_axes, False),
        (models.wrong_at_runtime, False),
        (models.map_sequence, False),
        (models.tensor_sequence, False),
    ],
)
def test_only_models_whose_first_axes_are_one_dynamic_batch_are_batchable(
    load: Load, build: Callable[[], bytes], batchable: bool
) -> None:
    """Stacking the requests of any other model would change its answers, or fail."""
    assert load(build()).signature.batchable is batchable


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_outputs_are_given_when_none_is_named(load: Load) -> None:
    """An empty list of outputs means every output."""
    answer = load(models.two_inputs()).infer({"a": float32([2, 3]), "b": float32([4, 5])}, ())

    assert {name: array.tolist() for name, array in answer.items()} == {"sum": [[6, 8]], "product": [[8, 15]]}


def test_only_named_outputs_are_given_in_the_order_named(load: Load) -> None:
    """A client that asks for one output does not pay for the others."""
    answer = load(models.two_inputs()).infer({"a": float32([2, 3]), "b": float32([4, 5])}, ["product"])

    assert list(answer) == ["product"]


def test_rank_0_inputs_are_taken_as_they_are(load: Load) -> None:
    """A scalar has an empty shape, not [1]."""
    answer = load(models.scalar_input()).infer({"x": float32(1, 2), "factor": np.array(3, np.float32)}, ())

    assert answer["y"].tolist() == [3, 6]


def test_strings_travel_as_utf_8_bytes(load: Load) -> None:
    """BYTES elements are `bytes` on both sides, whatever onnxruntime wants inside."""
    sent = np.array([b"plain", "höhe".encode(), b""], object)

    answer = load(models.strings()).infer({"x": sent}, ())

    assert answer["y"].tolist() == sent.tolist()


def test_bytes_that_are_not_text_are_the_inputs_fault(load: Load) -> None:
    """ONNX strings are UTF-8; onnxruntime would otherwise answer with the bytes' Python notation."""
    with pytest.raises(ServingError) as caught:
        load(models.strings()).infer({"x": np.array([b"\xff"], object)}, ())

    assert caught.value.kind is ErrorKind.INVALID
    assert "input 'x'" in caught.value.message


def test_bfloat16_travels_as_its_bit_pattern(load: Load) -> None:
    """Numpy has no bfloat16: arrays of uint16 carry it."""
    bits = np.array([[0x3F80, 0xC000]], np.uint16)

    answer = load(models.identity(TensorProto.BFLOAT16, ("N", 2))).infer({"x": bits}, ())

    assert answer["y"].tolist() == bits.tolist()


def test_a_sequence_of_maps_becomes_values_and_keys(load: Load) -> None:
    """N maps with K keys: `<name>` [N, K] and `<name>.keys` [K]; the signature says so before any call."""
    backend = load(models.map_sequence())

    answer = backend.infer({"float_input": np.ones((3, 2), np.float32)}, ())

    assert backend.signature.outputs[1:] == (
        TensorSpec("probabilities", "FP32", (-1, -1)),
        TensorSpec("probabilities.keys", "INT64", (-1,)),
    )
    assert answer["probabilities.keys"].tolist() == [0, 1, 2]
    assert answer["probabilities"].shape == (3, 3)
    assert answer["probabilities"].sum(axis=1) == pytest.approx(1)


def test_a_part_of_a_map_output_can_be_asked_for_alone(load: Load) -> None:
    """The tensors that an output is flattened to are outputs in their own right."""
    answer = load(models.map_sequence()).infer({"float_input": np.ones((3, 2), np.float32)}, ["probabilities.keys"])

    assert list(answer) == ["probabilities.keys"]


def test_a_sequence_of_tensors_becomes_one_tensor(load: Load) -> None:
    """Tensors of one shape are stacked along a new first axis."""
    answer = load(models.tensor_sequence()).infer({"x": float32([1, 2], [3, 4])}, ())

    assert answer["parts"].tolist() == [[[1, 2], [3, 4]]] * 2


def test_external_data_beside_the_model_is_found(tmp_path: Path) -> None:
    """Models are loaded by path, so weights may lie in files of their own."""
    backend = OnnxBackend(models.with_external_data(tmp_path))

    backend.load()

    assert backend.infer({"x": np.ones((1, 64), np.float32)}, ())["y"].shape == (1, 64)


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_is_no_model_says_so_at_load(load: Load) -> None:
    """The message names the file and gives the runtime's reason without its error codes."""
    with pytest.raises(ServingError) as caught:
        load(models.not_a_model())

    assert caught.value.kind is ErrorKind.INVALID
    assert caught.value.message.startswith("onnxruntime cannot load model.onnx: ")
    assert "ONNXRuntimeError" not in caught.value.message


def test_external_data_outside_the_models_folder_is_refused(tmp_path: Path) -> None:
    """A model must not read files of its host."""
    (tmp_path / "model").mkdir()
    (tmp_path / "weights.data").write_bytes(bytes(64 * 64 * 4))
    path = models.with_external_data(tmp_path / "model", location="../weights.data")

    with pytest.raises(ServingError, match="escapes"):
        OnnxBackend(path).load()


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": np.ones((1, 3), np.float32)},
        {"x": np.ones((1, 4), np.float64)},
        {"z": np.ones((1, 4), np.float32)},
        {},
    ],
    ids=["shape", "datatype", "name", "missing"],
)
def test_inputs_that_do_not_fit_are_the_callers_fault(load: Load, inputs: dict[str, np.ndarray]) -> None:
    """Also when nobody validated before."""
    with pytest.raises(ServingError) as caught:
        load(models.add_one()).infer(inputs, ())

    assert caught.value.kind is ErrorKind.INVALID


def test_a_failure_inside_a_node_is_the_models_fault(load: Load) -> None:
    """A version that fails on rows which its sibling answers must count as failing; no source file is shown."""
    backend = load(models.table_lookup())

    with pytest.raises(ServingError) as caught:
        backend.infer({"index": np.array([1, 9])}, ())

    assert caught.value.kind is ErrorKind.MODEL_FAILED
    assert "Gather" in caught.value.message
    assert backend.infer({"index": np.array([1])}, ())["value"].tolist() == [11]


def test_the_message_of_a_failure_shows_no_source_file_of_the_runtime(load: Load) -> None:
    """Clients read it."""
    with pytest.raises(ServingError) as caught:
        load(models.wrong_at_runtime()).infer({"x": np.ones((2, 4), np.float32)}, ())

    assert "Reshape" in caught.value.message
    assert ".h:" not in caught.value.message


def test_a_failure_prints_nothing(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    """A client that sends bad rows must not be able to flood the log."""
    with pytest.raises(ServingError):
        load(models.wrong_at_runtime()).infer({"x": np.ones((2, 4), np.float32)}, ())

    assert capfd.readouterr() == ("", "")


def test_a_provider_that_is_not_there_is_an_error_that_says_what_is(tmp_path: Path) -> None:
    """Asked for by name, a GPU is not silently replaced by the CPU."""
    path = tmp_path / "model.onnx"
    path.write_bytes(models.add_one())

    with pytest.raises(ServingError, match="CPUExecutionProvider"):
        OnnxBackend(path, OnnxOptions(provider="tensorrt")).load()


# ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_inputs_made_of_a_signature_suit_models_of_any_kind(load: Load) -> None:
    """They fit, alone and stacked; what they mean is another matter."""
    for build in (models.mlp, models.scalar_input, models.strings, models.map_sequence, models.table_lookup):
        backend = load(build())
        inputs = synthetic_inputs(backend.signature)
        backend.infer(inputs, ())
        if backend.signature.batchable:
            backend.infer(stacked(inputs, 4), ())


def test_describe_says_what_runs_the_model(load: Load) -> None:
    """An operator reads runtime, provider, threads and size."""
    facts = load(models.mlp()).describe()

    assert facts["backend"] == "onnx"
    assert facts["provider"] == "cpu"
    assert facts["threads"] == 1
    assert facts["model_bytes"] == len(models.mlp())
