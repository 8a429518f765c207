"""ONNX value types as onnxruntime spells them, and how each output becomes V2 tensors. Pure.

V2 knows only tensors, ONNX also sequences and maps. The rule that flattens them:

- `seq(map(K, V))` of N maps with the same K keys, what scikit-learn converters emit for class probabilities:
  `<name>` of shape [N, K] with the values, and `<name>.keys` of shape [K] with the keys in the order of the first map.
- `map(K, V)`: `<name>` of shape [K] and `<name>.keys` of shape [K].
- `seq(tensor(T))` of N tensors of one shape S: `<name>` of shape [N, *S].

Maps with different keys and tensors of different shapes have no such form: the answer is refused, not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from serving.backends.backend import Array
from serving.protocol.datatypes import DATATYPES
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.protocol.messages import TensorSpec

_DATATYPES: Final[dict[str, str]] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}

_TENSOR = re.compile(r"tensor\((\w+)\)")
_MAP = re.compile(r"map\((\w+),tensor\((\w+)\)\)")
_SEQUENCE = re.compile(r"seq\((.+)\)")


class OutputForm(NamedTuple):
    """How one ONNX output appears in V2: one tensor, or the values and keys of maps."""

    values: TensorSpec
    keys: TensorSpec | None = None
    is_plain: bool = True
    """Already a tensor that onnxruntime gives in V2's own form: nothing to convert."""

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The V2 tensors, in the order of the signature."""
        return (self.values,) if self.keys is None else (self.values, self.keys)


def tensor_spec(name: str, onnx_type: str, shape: Sequence[Any]) -> TensorSpec:
    """Describe a tensor; symbolic, unknown and negative sizes become -1.

    Raises:
        ServingError: INVALID, the type is no tensor or has no V2 datatype.
    """
    match = _TENSOR.fullmatch(onnx_type)
    if not match:
        raise invalid(f"'{name}' is of ONNX type {onnx_type}; only tensors can be sent over the protocol")
    sizes = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in shape)
    return TensorSpec(name, _datatype(name, match[1]), sizes)


def output_form(name: str, onnx_type: str, shape: Sequence[Any]) -> OutputForm:
    """Choose the V2 form of an output by the rule above.

    Raises:
        ServingError: INVALID, the type has no V2 form.
    """
    sequence = _SEQUENCE.fullmatch(onnx_type)
    element = sequence[1] if sequence else onnx_type
    leading = (-1,) if sequence else ()
    if mapped := _MAP.fullmatch(element):
        keys = TensorSpec(f"{name}.keys", _datatype(name, mapped[1]), (-1,))
        return OutputForm(TensorSpec(name, _datatype(name, mapped[2]), (*leading, -1)), keys, is_plain=False)
    spec = tensor_spec(name, element, shape)
    if not sequence:
        return OutputForm(spec, is_plain=spec.datatype != "BYTES")
    # onnxruntime does not tell the rank of a sequence's tensors: one dynamic axis stands for all of them.
    return OutputForm(TensorSpec(name, spec.datatype, (*leading, -1)), is_plain=False)


def flatten_output(form: OutputForm, value: Any) -> dict[str, Array]:
    """Turn an output as onnxruntime returns it into V2 tensors, by the rule above.

    Raises:
        ServingError: MODEL_FAILED, maps with different keys or tensors of different shapes.
    """
    if form.is_plain:
        return {form.values.name: value}
    if form.keys is not None:
        return _flatten_maps(form.values, form.keys, value)
    if isinstance(value, list):
        value = _stack(form.values, value)
    return {form.values.name: encoded_strings(value) if form.values.datatype == "BYTES" else value}


def encoded_strings(array: Array) -> Array:
    """Turn an array of `str` into one of UTF-8 `bytes`, the form in which BYTES travel."""
    return _object_array(array.shape, [str(element).encode() for element in array.flat])


def decoded_strings(name: str, array: Array) -> Array:
    """Turn an array of UTF-8 `bytes` into one of `str`, the only form that onnxruntime reads as text.

    Raises:
        ServingError: INVALID, an element is not UTF-8.
    """
    try:
        decoded = [element.decode() if isinstance(element, bytes) else str(element) for element in array.flat]
    except UnicodeDecodeError as error:
        raise invalid(f"input '{name}' holds bytes that are not UTF-8, which ONNX strings must be") from error
    return _object_array(array.shape, decoded)


def _object_array(shape: tuple[int, ...], elements: Sequence[object]) -> Array:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)


def _flatten_maps(values: TensorSpec, keys: TensorSpec, value: Any) -> dict[str, Array]:
    rows: Sequence[Mapping[Any, Any]] = value if isinstance(value, list) else [value]
    order = list(rows[0]) if rows else []
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ServingError(ErrorKind.MODEL_FAILED, f"output '{values.name}' holds maps with different keys")
    table = np.array([[row[key] for key in order] for row in rows], dtype=DATATYPES[values.datatype].dtype)
    table = table.reshape((len(rows), len(order)) if len(values.shape) == 2 else (len(order),))
    names = np.array(order, dtype=DATATYPES[keys.datatype].dtype)
    return {values.name: table, keys.name: encoded_strings(names) if keys.datatype == "BYTES" else names}


def _stack(spec: TensorSpec, tensors: Sequence[Array]) -> Array:
    if len({tensor.shape for tensor in tensors}) > 1:
        raise ServingError(ErrorKind.MODEL_FAILED, f"output '{spec.name}' holds tensors of different shapes")
    return np.stack(tensors) if tensors else np.empty((0, 0), dtype=DATATYPES[spec.datatype].dtype)


def _datatype(name: str, element: str) -> str:
    datatype = _DATATYPES.get(element)
    if datatype is None:
        raise invalid(f"'{name}' has ONNX element type {element}, which the protocol cannot carry")
    return datatype
