"""The small model that load tests serve: a classifier whose run costs so little that the rest is what is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT = "features"
OUTPUT = "probabilities"


def build_classifier(*, features: int = 16, hidden: int = 32, classes: int = 3, seed: int = 0) -> bytes:
    """Build an ONNX file: `features` FP32 [N, 16] -> `probabilities` FP32 [N, 3]; another seed is another version."""
    random = np.random.default_rng(seed)
    weights = {
        "hidden_weight": random.normal(0, 0.3, (features, hidden)),
        "hidden_bias": random.normal(0, 0.1, hidden),
        "class_weight": random.normal(0, 0.3, (hidden, classes)),
        "class_bias": random.normal(0, 0.1, classes),
    }
    nodes = [
        helper.make_node("Gemm", [INPUT, "hidden_weight", "hidden_bias"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "class_weight", "class_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    return _model(nodes, "classifier", features, classes, weights)


def _model(
    nodes: Sequence[onnx.NodeProto],
    name: str,
    features: int,
    classes: int,
    weights: Mapping[str, npt.NDArray[np.float64]],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        name,
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", features])],
        outputs=[helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", classes])],
        initializer=[numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    # Versions that every onnxruntime of the last years reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def build_deep(*, layers: int, width: int = 256, features: int = 16, classes: int = 3, seed: int = 0) -> bytes:
    """Build an ONNX file of the classifier's form that runs one layer `layers` times: much to do, little to read."""
    random = np.random.default_rng(seed)
    weights = {
        "first_weight": random.normal(0, 0.3, (features, width)),
        "layer_weight": np.linalg.qr(random.normal(size=(width, width)))[0],
        "class_weight": random.normal(0, 0.3, (width, classes)),
    }
    nodes = [helper.make_node("MatMul", [INPUT, "first_weight"], ["layer_0"])]
    nodes += [helper.make_node("MatMul", [f"layer_{n}", "layer_weight"], [f"layer_{n + 1}"]) for n in range(layers)]
    nodes += [
        helper.make_node("MatMul", [f"layer_{layers}", "class_weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    return _model(nodes, "deep classifier", features, classes, weights)


def random_rows(count: int, features: int, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Draw rows [count, features] with few digits, as measurements have."""
    return np.random.default_rng(seed).normal(size=(count, features)).round(3).astype(np.float32)


def v2_json(rows: npt.NDArray[np.float32], input_name: str = INPUT) -> bytes:
    """Write rows [n, features] as a V2 JSON inference request."""
    # float(str()) keeps the digits of the 32-bit value; tolist() would print its 64-bit neighbour's.
    data = [float(str(value)) for value in rows.ravel()]
    tensor = {"name": input_name, "datatype": "FP32", "shape": list(rows.shape), "data": data}
    return msgspec.json.encode({"inputs": [tensor]})
