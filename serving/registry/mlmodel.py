"""Reads and writes `MLmodel`, the YAML card of an MLflow model, without MLflow's loaders. Pure.

MLflow's own loaders import the module that the card names; we take from it only the names of files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import yaml

from serving.protocol.datatypes import DATATYPES, datatype_of
from serving.protocol.errors import invalid
from serving.protocol.messages import Signature, TensorSpec
from serving.registry.artifact import check_path

ONNX_FILE: Final = "model.onnx"


class ModelCard(msgspec.Struct, frozen=True):
    """What we read of an `MLmodel` file; paths are relative to it and stay inside its folder."""

    onnx_file: str | None
    """None for a model of another flavor."""
    example_file: str | None
    """An input example in the JSON of MLflow's scoring protocol."""
    signature: Signature | None = None
    """What the card declares of tensors; None when it declares columns of a table, or nothing that can be read."""


def parse_mlmodel(text: str) -> ModelCard:
    """Read an `MLmodel` file.

    Raises:
        ServingError: INVALID, it is no YAML mapping, or a path in it leads out of its folder.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise invalid(f"MLmodel is no valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise invalid("MLmodel is no YAML mapping")
    return ModelCard(
        onnx_file=_path(document, "flavors", "onnx", "data"),
        example_file=_path(document, "saved_input_example_info", "serving_input_path")
        or _path(document, "saved_input_example_info", "artifact_path"),
        signature=_signature(document.get("signature")),
    )


def render_mlmodel(signature: Signature, *, run_id: str, created_at: str, has_onnx: bool) -> str:
    """Write the card of a model that we register, such that `mlflow.onnx.load_model` can load it too.

    Args:
        signature: as the runtime reports it.
        run_id: the MLflow run that the files belong to.
        created_at: UTC, as `YYYY-MM-DD HH:MM:SS`.
        has_onnx: the model is `model.onnx` beside the card; else the card names no file.
    """
    flavor = {"data": ONNX_FILE, "providers": ["CPUExecutionProvider"], "onnx_session_options": None, "code": None}
    document = {
        "artifact_path": "model",
        "run_id": run_id,
        "utc_time_created": created_at,
        "flavors": {"onnx": flavor} if has_onnx else {},
        "signature": {
            "inputs": _schema(signature.inputs),
            "outputs": _schema(signature.outputs),
            "params": None,
        },
    }
    return yaml.safe_dump(document, sort_keys=False)


def _signature(declared: Any) -> Signature | None:
    """Read a tensor-based signature; one that is broken declares nothing, since the graph itself is what is served."""
    try:
        inputs, outputs = (_specs(declared.get(side)) for side in ("inputs", "outputs"))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return Signature(inputs, outputs) if inputs else None


def _specs(schema: str | None) -> tuple[TensorSpec, ...]:
    tensors = json.loads(schema) if schema else []
    return tuple(
        TensorSpec(
            each.get("name") or "",
            datatype_of(np.dtype(each["tensor-spec"]["dtype"])),
            tuple(int(size) for size in each["tensor-spec"]["shape"]),
        )
        for each in tensors
    )


def _path(document: Mapping[str, Any], *keys: str) -> str | None:
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return check_path(value) if isinstance(value, str) and value else None


def _schema(specs: Sequence[TensorSpec]) -> str:
    return json.dumps(
        [
            {
                "name": spec.name,
                "type": "tensor",
                "tensor-spec": {"dtype": DATATYPES[spec.datatype].dtype.name, "shape": list(spec.shape)},
            }
            for spec in specs
        ]
    )
