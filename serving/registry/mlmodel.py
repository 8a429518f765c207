"""Reads and writes `MLmodel`, the YAML card of an MLflow model, without MLflow's loaders. Pure.

MLflow's own loaders import the module that the card names; we take from it only the names of files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import yaml

from serving.protocol.datatypes import DATATYPES, datatype_of
from serving.protocol.errors import invalid
from serving.protocol.messages import Signature, TensorSpec
from serving.registry.artifact import check_path

ONNX_FILE: Final = "model.onnx"
_STRING: Final = "tag:yaml.org,2002:str"


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
        card = yaml.compose(text, Loader=yaml.SafeLoader)  # no values are made: tags and merges could take any memory
    except yaml.YAMLError as error:
        raise invalid(f"MLmodel is no valid YAML: {error}") from error
    except RecursionError:
        raise invalid("MLmodel is no valid YAML: it is nested too deeply") from None
    if not isinstance(card, yaml.MappingNode):
        raise invalid("MLmodel is no YAML mapping")
    return ModelCard(
        onnx_file=_path(card, "flavors", "onnx", "data"),
        example_file=_path(card, "saved_input_example_info", "serving_input_path")
        or _path(card, "saved_input_example_info", "artifact_path"),
        signature=_signature(card),
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


def _signature(card: yaml.Node) -> Signature | None:
    """Read a tensor-based signature; one that is broken declares nothing, since the graph itself is what is served."""
    try:
        inputs, outputs = (_specs(_text(card, "signature", side)) for side in ("inputs", "outputs"))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
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


def _path(card: yaml.Node, *keys: str) -> str | None:
    text = _text(card, *keys)
    return check_path(text) if text else None


def _text(card: yaml.Node, *keys: str) -> str | None:
    """Find the text at a place of the card; None where there is none, or a value of another kind."""
    node: yaml.Node | None = card
    for key in keys:
        node = _entry(node, key)
    return str(node.value) if isinstance(node, yaml.ScalarNode) and node.tag == _STRING else None


def _entry(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """Find an entry of a mapping; of two with one key the last, as a loader would."""
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in reversed(node.value) if name.value == key), None)


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
