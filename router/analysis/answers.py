"""How far are two answers to one request apart, output by output? Pure.

Two classifiers rarely give the same probabilities, and need not: what a caller acts on is the label. So answers agree
when every discrete output (integers, booleans, text) is equal and, if there is none, when float outputs with a class
axis put the same class first and all other floats are close. What is measured is more than what decides: every output
says how many values are beyond the tolerance, how many rows changed label or top classes, and where its values moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from router.analysis.counts import NOTHING, Moments
from serving.protocol.arrays import Array, to_array
from serving.protocol.datatypes import DATATYPES
from serving.protocol.messages import Tensor

#: Values of one output that are looked at: whole leading rows. Bounds the time of a comparison, not its meaning.
MOST_VALUES: Final = 8192
#: Text is split in Python, so less of it is looked at.
MOST_TEXT_BYTES: Final = 64 * 1024
TOP: Final = 3


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Floats are close when |a - b| <= absolute + relative * |primary|; two NaNs are close."""

    relative: float = 1e-2
    absolute: float = 1e-4


@dataclass(frozen=True, slots=True)
class OutputGap:
    """One output of two answers."""

    name: str
    values: int = 0
    far: int = 0
    """Values beyond the tolerance; of discrete outputs: unequal ones."""
    rows: int = 0
    flips: int = 0
    """Rows with another label: another class first, or another discrete value; floats without classes: far ones."""
    reordered: int = 0
    """Rows whose `TOP` classes are not the same set."""
    largest: float = 0.0
    """Largest absolute difference of finite numbers."""
    shift: Moments = NOTHING
    """Of the differences shadow - primary."""
    row: int = 0
    """A row that differs most."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Two answers."""

    agrees: bool
    malformed: str = ""
    """Why the answers cannot be compared by value: other outputs, datatypes or shapes."""
    outputs: tuple[OutputGap, ...] = ()


SAME_TOLERANCE: Final = Tolerance()


def compare_answers(primary: Sequence[Tensor], shadow: Sequence[Tensor], tolerance: Tolerance = SAME_TOLERANCE) -> Gap:
    """Measure the gap; answers of different form disagree, and say so."""
    theirs = {tensor.name: tensor for tensor in shadow}
    if theirs.keys() != {tensor.name for tensor in primary}:
        return Gap(agrees=False, malformed=f"outputs {sorted(theirs)} for {sorted(t.name for t in primary)}")
    for mine in primary:
        other = theirs[mine.name]
        if (mine.datatype, mine.shape) != (other.datatype, other.shape):
            form = f"{other.datatype}{list(other.shape)} for {mine.datatype}{list(mine.shape)}"
            return Gap(agrees=False, malformed=f"{mine.name}: {form}")
    gaps = tuple(_output_gap(mine, theirs[mine.name], tolerance) for mine in primary)
    discrete = [gap for gap, tensor in zip(gaps, primary, strict=True) if not _is_float(tensor)]
    return Gap(agrees=not any(gap.flips for gap in discrete or gaps), outputs=gaps)


def _is_float(tensor: Tensor) -> bool:
    return tensor.datatype == "BF16" or DATATYPES[tensor.datatype].dtype.kind == "f"


def _values(tensor: Tensor) -> Array:
    """View a tensor's values; BF16, which numpy lacks, is the upper half of an FP32."""
    array = to_array(tensor)
    return (array.astype(np.uint32) << 16).view(np.float32) if tensor.datatype == "BF16" else array


def _output_gap(mine: Tensor, other: Tensor, tolerance: Tolerance) -> OutputGap:
    if mine.datatype == "BYTES" and max(len(mine.data), len(other.data)) > MOST_TEXT_BYTES:
        return OutputGap(mine.name, rows=1, flips=int(mine.data != other.data))
    one, two = _rows(_values(mine)), _rows(_values(other))
    if _is_float(mine):
        has_classes = len(mine.shape) > 1 and mine.shape[-1] > 1
        return _float_gap(mine.name, one, two, tolerance, has_classes=has_classes)
    unequal = one != two
    flipped = unequal.any(axis=1)
    flips = int(flipped.sum())
    return OutputGap(
        mine.name, one.size, int(unequal.sum()), len(one), flips, row=int(flipped.argmax()) if flips else 0
    )


def _rows(array: Array) -> Array:
    """View an array as rows of its last axis (one value a row if there is but one axis), bounded in number."""
    width = array.shape[-1] if array.ndim > 1 else 1
    rows = array.reshape(-1, width) if array.size else array.reshape(0, max(1, width))
    return rows[: max(1, MOST_VALUES // max(1, width))]


def _float_gap(name: str, one: Array, two: Array, tolerance: Tolerance, *, has_classes: bool) -> OutputGap:
    if not one.size:
        return OutputGap(name)
    first, second = one.astype(np.float64), two.astype(np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf is not finite, and is left out below
        difference = second - first
    far = ~np.isclose(second, first, rtol=tolerance.relative, atol=tolerance.absolute, equal_nan=True)
    flipped = first.argmax(axis=1) != second.argmax(axis=1) if has_classes else far.any(axis=1)
    # A NaN sorts as the largest, so it would pass as the first class of both.
    flipped |= np.isnan(first).any(axis=1) != np.isnan(second).any(axis=1)
    finite = np.where(np.isfinite(difference), difference, 0.0)
    sizes = np.abs(finite).max(axis=1)
    mean = float(finite.mean())
    return OutputGap(
        name,
        values=one.size,
        far=int(far.sum()),
        rows=len(one),
        flips=int(flipped.sum()),
        reordered=_reordered(first, second) if has_classes and one.shape[1] > TOP else 0,
        largest=float(sizes.max()),
        shift=Moments(one.size, mean, float(((finite - mean) ** 2).sum())),
        row=int((sizes + flipped * (1 + sizes.max())).argmax()),
    )


def _reordered(first: Array, second: Array) -> int:
    """Count rows whose `TOP` largest classes are not the same set."""
    mine = np.sort(np.argpartition(first, -TOP, axis=1)[:, -TOP:], axis=1)
    theirs = np.sort(np.argpartition(second, -TOP, axis=1)[:, -TOP:], axis=1)
    return int((mine != theirs).any(axis=1).sum())
