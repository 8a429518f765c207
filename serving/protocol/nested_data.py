"""Tensors as nested JSON values without shape or datatype, as row and column formats have them. Pure.

The shape is read off the nesting and fitted to the model's: an axis of one more or less at the end is no difference,
so that a column of numbers fits a model that wants [N, 1]. BYTES are strings, or `{"b64": "…"}` for any bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from serving.protocol.checks import element_count, show
from serving.protocol.elements import split_elements
from serving.protocol.errors import ServingError, invalid
from serving.protocol.json_data import pack_values, print_data
from serving.protocol.messages import Limits, Tensor, TensorSpec

_B64: Final = "b64"


def read_nested(spec: TensorSpec, value: Any, limits: Limits) -> Tensor:
    """Make the tensor that `spec` declares of nested lists.

    Raises:
        ServingError: INVALID or TOO_LARGE, without the tensor's name.
    """
    shape: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        if len(shape) >= limits.max_rank:
            raise invalid(f"is nested deeper than {limits.max_rank} levels")
        sizes = {len(entry) if isinstance(entry, list) else -1 for entry in level}
        if len(sizes) > 1:
            raise invalid(f"has rows of different lengths along axis {len(shape)}")
        shape.append(len(level[0]))
        level = list(chain.from_iterable(level))
        element_count(shape, limits)
    if spec.datatype == "BYTES":
        level = [_bytes_of(element) for element in level]
    return Tensor(spec.name, spec.datatype, _fitted(tuple(shape), spec), pack_values(level, spec.datatype))


def print_nested(tensor: Tensor) -> Any:
    """Print a tensor as nested lists; rank 0 is a bare value."""
    values: Any = list(_texts(tensor) if tensor.datatype == "BYTES" else print_data(tensor.datatype, tensor.data))
    for size in reversed(tensor.shape[1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)] if size else []
    return values if tensor.shape else values[0]


def _fitted(shape: tuple[int, ...], spec: TensorSpec) -> tuple[int, ...]:
    wanted = spec.shape
    if len(shape) + 1 == len(wanted) and wanted[-1] in {-1, 1}:
        return (*shape, 1)
    if len(shape) == len(wanted) + 1 and shape[-1] == 1:
        return shape[:-1]
    if len(shape) < len(wanted) and 0 in shape:  # no rows, so nothing tells the other axes
        return (*shape, *(max(size, 0) for size in wanted[len(shape) :]))
    if len(shape) != len(wanted):
        raise invalid(f"has shape {show(shape)}; the model takes {show(wanted)} (-1: any size)")
    return shape


def _bytes_of(element: Any) -> bytes:
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, dict) and isinstance(element.get(_B64), str) and len(element) == 1:
        try:
            return base64.b64decode(element[_B64], validate=True)
        except (binascii.Error, ValueError):
            raise invalid("has an element that is not base64") from None
    raise invalid('has an element that is neither a string nor {"b64": "…"}')


def _texts(tensor: Tensor) -> Sequence[object]:
    try:
        return print_data("BYTES", tensor.data)
    except ServingError:  # not all of them are text
        return [{_B64: base64.b64encode(element).decode()} for element in split_elements(tensor.data)]
