"""Small ONNX models, one for each trait of a model that the gateway must cope with.

Every builder returns the bytes of a model file, made with the `onnx` package (a test dependency, not ours at run time).
Each model's docstring gives its signature as `inputs -> outputs` with `N` for the dynamic batch axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.datasets import get_example

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING

Dim = int | str | None
"""A fixed size, a symbolic (dynamic) size, or a dynamic size without a name."""


def mlp(seed: int = 0, features: int = 16, hidden: int = 32, classes: int = 3) -> bytes:
    """Build a classifier: `features` FP32 [N, 16] -> `probabilities` FP32 [N, 3]; another seed is another version."""
    random = np.random.default_rng(seed)
    weights = {
        "w1": random.normal(0, 0.3, (features, hidden)),
        "b1": random.normal(0, 0.1, hidden),
        "w2": random.normal(0, 0.3, (hidden, classes)),
        "b2": random.normal(0, 0.1, classes),
    }
    nodes = [
        helper.make_node("Gemm", ["features", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    return _model(
        nodes,
        inputs=[_value("features", FLOAT, ["N", features])],
        outputs=[_value("probabilities", FLOAT, ["N", classes])],
        constants={name: value.astype(np.float32) for name, value in weights.items()},
    )


def add(offset: float, features: int = 4) -> bytes:
    """Build `x` FP32 [N, 4] -> `y` FP32 [N, 4] with y = x + offset: versions that are told apart by their answers."""
    return _model(
        [helper.make_node("Add", ["x", "offset"], ["y"])],
        inputs=[_value("x", FLOAT, ["N", features])],
        outputs=[_value("y", FLOAT, ["N", features])],
        constants={"offset": np.array([offset], np.float32)},
    )


def mirrored(features: int = 1) -> bytes:
    """Build `x` FP32 [N, 1] -> `y` FP32 [N, 1] with y = 1 - x: spread as x is where that is even, and always wrong."""
    return _model(
        [helper.make_node("Sub", ["one", "x"], ["y"])],
        inputs=[_value("x", FLOAT, ["N", features])],
        outputs=[_value("y", FLOAT, ["N", features])],
        constants={"one": np.array([1.0], np.float32)},
    )


def add_one() -> bytes:
    """Build `x` FP32 [N, 4] -> `y` FP32 [N, 4] with y = x + 1."""
    return add(1.0)


def fixed_batch(batch: int = 3) -> bytes:
    """Build `x` FP32 [3, 2] -> `y` FP32 [3, 2] with y = x + 1: a fixed first axis, hence not batchable."""
    return _model(
        [helper.make_node("Add", ["x", "one"], ["y"])],
        inputs=[_value("x", FLOAT, [batch, 2])],
        outputs=[_value("y", FLOAT, [batch, 2])],
        constants={"one": np.array([1], np.float32)},
    )


def two_inputs() -> bytes:
    """Build `a`, `b` FP32 [N, 2] -> `sum`, `product` FP32 [N, 2]."""
    return _model(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["a", "b"], ["product"])],
        inputs=[_value("a", FLOAT, ["N", 2]), _value("b", FLOAT, ["N", 2])],
        outputs=[_value("sum", FLOAT, ["N", 2]), _value("product", FLOAT, ["N", 2])],
    )


def scalar_input() -> bytes:
    """Build `x` FP32 [N], `factor` FP32 [] -> `y` FP32 [N] with y = x * factor: a rank-0 input, hence not batchable."""
    return _model(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        inputs=[_value("x", FLOAT, ["N"]), _value("factor", FLOAT, [])],
        outputs=[_value("y", FLOAT, ["N"])],
    )


def unrelated_axes() -> bytes:
    """Build `a` FP32 [N, 2], `b` FP32 [M, 2] -> `scores` FP32 [N, M]: two dynamic first axes that are not one batch."""
    return _model(
        [helper.make_node("Gemm", ["a", "b"], ["scores"], transB=1)],
        inputs=[_value("a", FLOAT, ["N", 2]), _value("b", FLOAT, ["M", 2])],
        outputs=[_value("scores", FLOAT, ["N", "M"])],
    )


def identity(element_type: int = FLOAT, shape: Sequence[Dim] = ("N",)) -> bytes:
    """Build `x` -> `y` with y = x, of any ONNX element type and shape."""
    return _model(
        [helper.make_node("Identity", ["x"], ["y"])],
        inputs=[_value("x", element_type, shape)],
        outputs=[_value("y", element_type, shape)],
    )


def strings() -> bytes:
    """Build `x` BYTES [N] -> `y` BYTES [N] with y = x."""
    return identity(STRING)


def table_lookup() -> bytes:
    """Build `index` INT64 [N] -> `value` FP32 [N]: the table has 4 rows and a larger index fails the whole run.

    One bad row among good ones: what a batch must survive.
    """
    return _model(
        [helper.make_node("Gather", ["table", "index"], ["value"])],
        inputs=[_value("index", INT64, ["N"])],
        outputs=[_value("value", FLOAT, ["N"])],
        constants={"table": np.array([10, 11, 12, 13], np.float32)},
    )


def wrong_at_runtime() -> bytes:
    """Build `x` FP32 [N, 4] -> `y` FP32 [5, 7]: it loads, its signature looks right, and every run fails."""
    return _model(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        inputs=[_value("x", FLOAT, ["N", 4])],
        outputs=[_value("y", FLOAT, [5, 7])],
        constants={"shape": np.array([5, 7], np.int64)},
    )


def logarithm() -> bytes:
    """Build `x` FP32 [N, 2] -> `y` FP32 [N, 2] with y = log(x): infinite for 0, NaN below."""
    return _model(
        [helper.make_node("Log", ["x"], ["y"])],
        inputs=[_value("x", FLOAT, ["N", 2])],
        outputs=[_value("y", FLOAT, ["N", 2])],
    )


def hungry(size: int) -> bytes:
    """Build `x` FP32 [N, 4] -> `y` FP32 [N, 4] with y = 0, by way of `size` bytes for each row."""
    return _model(
        [
            helper.make_node("Expand", ["x", "shape"], ["wide"]),
            helper.make_node("ReduceMax", ["wide"], ["largest"], axes=[0], keepdims=0),
            helper.make_node("Sub", ["x", "largest"], ["y"]),
        ],
        inputs=[_value("x", FLOAT, ["N", 4])],
        outputs=[_value("y", FLOAT, ["N", 4])],
        constants={"shape": np.array([size // 16, 1, 4], np.int64)},
    )


def random_noise() -> bytes:
    """Build `x` FP32 [N, 2] -> `y` FP32 [N, 2] with y random: two runs on the same input differ."""
    return _model(
        [helper.make_node("RandomNormalLike", ["x"], ["y"])],
        inputs=[_value("x", FLOAT, ["N", 2])],
        outputs=[_value("y", FLOAT, ["N", 2])],
    )


def slow(size: int = 512, multiplications: int = 512) -> bytes:
    """Build `x` FP32 [N, 512] -> `y` FP32 [N, 512] by a chain of matrix products: several milliseconds per run.

    Each product shifts the row by one place, so that numbers neither grow nor fade.
    """
    names = ["x", *(f"x{step}" for step in range(1, multiplications)), "y"]
    return _model(
        [helper.make_node("MatMul", [names[step], "w"], [names[step + 1]]) for step in range(multiplications)],
        inputs=[_value("x", FLOAT, ["N", size])],
        outputs=[_value("y", FLOAT, ["N", size])],
        constants={"w": np.roll(np.eye(size, dtype=np.float32), 1, axis=0)},
    )


def map_sequence() -> bytes:
    """Read onnxruntime's iris classifier: `float_input` FP32 [3, 2] -> `label` INT64 [3], `probabilities` seq(map)."""
    return Path(get_example("logreg_iris.onnx")).read_bytes()


def tensor_sequence() -> bytes:
    """Build `x` FP32 [N, 2] -> `parts` seq(tensor FP32): the input twice, as a sequence of two equal tensors."""
    return _model(
        [helper.make_node("SequenceConstruct", ["x", "x"], ["parts"])],
        inputs=[_value("x", FLOAT, ["N", 2])],
        outputs=[helper.make_tensor_sequence_value_info("parts", FLOAT, None)],
    )


def with_external_data(folder: Path, *, location: str = "weights.data", size: int = 64) -> Path:
    """Write a model whose weights lie in a file beside it: `x` FP32 [N, 64] -> `y` FP32 [N, 64]; return its path."""
    model = onnx.load_from_string(slow(size, multiplications=1))
    (weights,) = model.graph.initializer
    raw = weights.raw_data
    (folder / Path(location).name).write_bytes(raw)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(raw)))):
        weights.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def row_mixing() -> bytes:
    """Build `x` FP32 [N, 4] -> `y` FP32 [N, 4] with y = x - mean of x over the rows: it must not be batched."""
    return _model(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        inputs=[_value("x", FLOAT, ["N", 4])],
        outputs=[_value("y", FLOAT, ["N", 4])],
    )


def custom_operator() -> bytes:
    """Build a model that needs a library of operators, which is code: it must not be loaded."""
    return _model(
        [helper.make_node("Steal", ["x"], ["y"], domain="evil.example")],
        inputs=[_value("x", FLOAT, ["N", 4])],
        outputs=[_value("y", FLOAT, ["N", 4])],
    )


def not_a_model() -> bytes:
    """Return bytes that no runtime can load."""
    return b"this is not an ONNX model"


def _value(name: str, element_type: int, shape: Sequence[Dim]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, list(shape))


def _model(
    nodes: Sequence[onnx.NodeProto],
    *,
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray] | None = None,
) -> bytes:
    initializers = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "test", list(inputs), list(outputs), initializers)
    # Older versions than the newest, so that every supported onnxruntime loads what the newest `onnx` writes.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())
