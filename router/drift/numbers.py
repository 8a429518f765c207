"""Numeric columns side by side: one pass over a matrix finds the bins of all of them. Pure.

Bins are found by counting the edges at or below a value, edge after edge for all columns and rows at once: with ten
edges that is a fifth of what a binary search costs, and the result is the same, whatever rows come together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from router.drift.layout import CUT, UNIT, Layout
from router.drift.profile import NumericColumn

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NULL = 0


class NumericBlock:
    """Some numeric columns of one layout."""

    def __init__(self, columns: Sequence[NumericColumn], layout: Layout) -> None:
        self.columns = tuple(columns)
        places = [layout.place(column.name) for column in columns]
        self._first_bin = np.array([place.bins.start for place in places], np.int64)[:, None]
        self._sums = np.array([place.moments.start for place in places], np.int64)
        self._edges = padded_edges([column.edges for column in columns])
        self._mean = np.array([column.mean for column in columns])[:, None]
        self._deviation = np.array([column.deviation or 1.0 for column in columns])[:, None]

    def add(self, values: Floats, where: Ints, totals: Ints) -> None:
        """Count rows.

        Args:
            values: [columns, rows].
            where: [rows], which of the totals each row belongs to.
            totals: [totals, size of the layout], added to.
        """
        size = totals.shape[1]
        places = numeric_bins(values, self._edges) + (self._first_bin + where * size)
        totals += np.bincount(places.ravel(), minlength=totals.size).reshape(totals.shape)
        z = (values - self._mean) / self._deviation
        units = np.rint(np.nan_to_num(np.clip(z, -CUT, CUT)) * UNIT).astype(np.int64)
        for own in np.unique(where).tolist() if len(totals) > 1 else (0,):
            part = units[:, where == own] if len(totals) > 1 else units
            totals[own, self._sums] += part.sum(axis=1)
            totals[own, self._sums + 1] += np.einsum("cr,cr->c", part, part)


def padded_edges(edges: Sequence[Sequence[float]]) -> Floats:
    """Lay the edges of columns side by side: [most edges, columns, 1]; NaN, which nothing reaches, fills up."""
    most = max((len(each) for each in edges), default=0)
    padded = np.full((most, len(edges), 1), np.nan)
    for i, each in enumerate(edges):
        padded[: len(each), i, 0] = each
    return padded


def numeric_bins(values: Floats, edges: Floats) -> Ints:
    """Return the bins [columns, rows] of values [columns, rows]: a value on an edge belongs to the bin above it."""
    bins = np.ones(values.shape, np.int16)
    for edge in edges:
        bins += values >= edge
    bins[np.isnan(values)] = NULL
    return bins.astype(np.int64)
