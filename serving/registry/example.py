"""Finds inputs for a version that came without a golden example: MLflow's input example, else generated ones. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.backends.example import synthetic_inputs
from serving.protocol.arrays import to_tensor
from serving.protocol.datatypes import DATATYPES
from serving.protocol.errors import ServingError
from serving.protocol.messages import InferRequest, Signature, Tensor
from serving.protocol.validation import validate_request


def inputs_from_mlflow(content: bytes, signature: Signature) -> tuple[Tensor, ...] | None:
    """Read an example in the JSON of MLflow's scoring protocol as inputs of the model.

    Understood are `inputs` as one array or as arrays by name, and `dataframe_split`, whose columns are stacked into the
    one input of a model with one, or are the inputs of a model with several.

    Returns:
        None when the example does not fit the signature: it was meant for something else than the bare model.
    """
    try:
        arrays = _arrays(json.loads(content), signature)
        inputs = tuple(_tensor(spec.name, spec.datatype, arrays[spec.name]) for spec in signature.inputs)
        validate_request(signature, InferRequest(inputs))
    except (ServingError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return inputs


def generated_inputs(signature: Signature) -> tuple[Tensor, ...]:
    """Make inputs from the signature alone; see `synthetic_inputs`."""
    arrays = synthetic_inputs(signature)
    return tuple(to_tensor(spec.name, arrays[spec.name], spec.datatype) for spec in signature.inputs)


def _arrays(document: Any, signature: Signature) -> Mapping[str, Any]:
    if isinstance(document, dict) and "inputs" in document:
        document = document["inputs"]
    elif isinstance(document, dict) and "dataframe_split" in document:
        document = document["dataframe_split"]
    names = [spec.name for spec in signature.inputs]
    if isinstance(document, dict) and {"columns", "data"} <= document.keys() and set(names) != document.keys():
        if len(names) == 1:
            return {names[0]: document["data"]}
        columns = zip(*document["data"], strict=True)
        return {name: [[value] for value in column] for name, column in zip(document["columns"], columns, strict=True)}
    if isinstance(document, dict):
        return document
    return dict.fromkeys(names[:1], document)


def _tensor(name: str, datatype: str, values: Any) -> Tensor:
    array = np.array(values, dtype=DATATYPES[datatype].dtype)
    return to_tensor(name, array, datatype)
