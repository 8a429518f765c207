"""Does a shadow's answer agree with the primary's? Pure.

Two classifiers rarely give the same probabilities, and need not: what a caller acts on is the label. So answers agree
when every discrete output (integers, booleans, text) is equal, and, if there is none, when float outputs with a class
axis put the same class first and all other floats are close.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from serving.protocol.arrays import Array, to_array
from serving.protocol.datatypes import DATATYPES
from serving.protocol.messages import Tensor

#: Floats without a class axis are close within these.
RELATIVE_TOLERANCE: Final = 1e-2
ABSOLUTE_TOLERANCE: Final = 1e-4


def agrees(primary: Sequence[Tensor], shadow: Sequence[Tensor]) -> bool:
    """Compare two answers to the same request; answers of different form disagree."""
    theirs = {tensor.name: tensor for tensor in shadow}
    pairs = [(tensor, theirs.get(tensor.name)) for tensor in primary]
    if len(theirs) != len(pairs):
        return False
    discrete = [pair for pair in pairs if not _is_float(pair[0])]
    return all(_pair_agrees(mine, other) for mine, other in discrete or pairs)


def _is_float(tensor: Tensor) -> bool:
    return DATATYPES[tensor.datatype].dtype.kind == "f"


def _pair_agrees(mine: Tensor, other: Tensor | None) -> bool:
    if other is None or mine.datatype != other.datatype or mine.shape != other.shape:
        return False
    if mine.data == other.data:
        return True
    if not _is_float(mine):
        return False
    one, two = to_array(mine), to_array(other)
    if one.ndim > 1 and one.shape[-1] > 1:
        return _same_class(one, two)
    return bool(np.allclose(one, two, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, equal_nan=True))


def _same_class(one: Array, two: Array) -> bool:
    return bool(np.array_equal(np.argmax(one, axis=-1), np.argmax(two, axis=-1)))
