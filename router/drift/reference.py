"""What a window is held against: the reference's shares, in the mixture of hours that the window has. Pure.

Night and day differ in most streams, so a window of the night differs from a reference of all hours without anything
having drifted. A seasonal profile keeps its counts by hour; the reference of a window is then their mixture with the
window's own shares of hours. Its precision is that of a stratified sample: 1 / sum of w_h² / N_h rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from router.drift.binning import FIRST_CATEGORY, OTHER
from router.drift.numbers import NULL
from router.drift.profile import Column, NumericColumn

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Reference(NamedTuple):
    """Shares of a column's bins, as of a sample of `rows` rows."""

    shares: Floats
    rows: float


def reference_for(column: Column, hours: Ints) -> Reference:
    """Return the reference of a window with these rows by hour [24]; hours without reference take that of all."""
    counts = np.array(column.counts, dtype=np.float64)
    total = counts.sum()
    if not column.hourly or not hours.sum() or not total:
        return Reference(counts / max(1.0, total), float(total))
    hourly = np.array(column.hourly, dtype=np.float64)
    per_hour = hourly.sum(axis=1)
    weights = hours / hours.sum()
    known = per_hour > 0
    shares = np.where(known[:, None], hourly / np.maximum(per_hour, 1)[:, None], counts / total)
    rows = 1 / np.sum(weights**2 / np.where(known, per_hour, total))
    return Reference(weights @ shares, float(rows))


def folded(column: Column, counts: npt.NDArray[np.generic]) -> Floats:
    """Join the bins that only `quality` looks at with others: out of range with the outer bins, new with rare.

    A reference has none of them, and a distance would make much of a single row there.
    """
    vector = counts.astype(np.float64)
    if isinstance(column, NumericColumn):
        inner = vector[2:-1].copy()
        inner[0] += vector[1]
        inner[-1] += vector[-1]
        return np.concatenate([vector[:1], inner])
    rest = vector[OTHER] + vector[1]
    return np.concatenate([[vector[NULL], rest], vector[FIRST_CATEGORY:]])
