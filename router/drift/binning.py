"""Rows to counts: the hot loop of the monitor, vectorised over the rows of a batch. Pure.

A column's bin depends on its row alone, never on the rows that happen to come with it, so counts do not depend on how
a stream was cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from router.drift.layout import CUT, UNIT, Layout
from router.drift.multivariate import reconstruction_errors, standardised
from router.drift.pane import Pane
from router.drift.profile import CategoricalColumn, Column, NumericColumn, Profile
from router.drift.rows import Table, stack_rows
from serving.protocol.arrays import Array
from serving.protocol.messages import Buffer

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NULL, UNSEEN, OTHER, FIRST_CATEGORY = 0, 1, 2, 3
#: Name of the derived column of `multivariate`.
RECONSTRUCTION_ERROR = "reconstruction_error"


class Binner:
    """A profile made ready to count rows."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.layout = Layout.of(profile)
        self._bin = {column.name: column_binner(column) for column in profile.columns}
        relations = profile.relations
        self._features = relations.features if relations else ()
        self._directions = np.asarray(relations.directions if relations else ())
        numeric = [column for name in self._features if isinstance(column := profile.column(name), NumericColumn)]
        self._mean = np.array([column.mean for column in numeric])
        self._deviation = np.array([column.deviation for column in numeric])

    def bin_payloads(self, inputs: Sequence[Buffer], outputs: Sequence[Buffer], at: Sequence[float]) -> Pane:
        """Count packed tensors as they lie in the log.

        Args:
            inputs: of each record; empty where a record has none.
            outputs: the same.
            at: Unix seconds of each record.

        What cannot be read, or lacks a column of the profile, is counted as broken and otherwise left out.
        """
        total = np.zeros(self.layout.size, np.int64)
        for role, payloads in (("input", inputs), ("output", outputs)):
            kept = [(payload, moment) for payload, moment in zip(payloads, at, strict=True) if payload]
            stacked = stack_rows([payload for payload, _ in kept], [moment for _, moment in kept])
            total[self.layout.messages] += len(kept)
            total[self.layout.broken] += stacked.unreadable
            for table in stacked.tables:
                if self._fits(table, role):
                    total += self.bin_table(table, role)
                else:
                    total[self.layout.broken] += table.messages
        return Pane(self.layout, total)

    def bin_table(self, table: Table, role: str) -> Ints:
        """Count the rows of a table whose tensors hold every column of this role; see `Pane` for the vector."""
        total = np.zeros(self.layout.size, np.int64)
        numbers: dict[str, Floats] = {}
        for column, place in zip(self.layout.columns, self.layout.places, strict=True):
            if column.role != role:
                continue
            values = table.tensors[column.tensor][:, column.index]
            total[place.bins] = np.bincount(self._bin[column.name](values), minlength=len(column.counts))
            if isinstance(column, NumericColumn):
                numbers[column.name] = as_numbers(values)
                total[place.moments] = fixed_point_moments(numbers[column.name], column)
        if role == "input":
            total[self.layout.hours] = np.bincount(table.hours, minlength=24)
            if self._features:
                self._bin_relations(numbers, total)
        return total

    def _bin_relations(self, numbers: Mapping[str, Floats], total: Ints) -> None:
        column = self.profile.column(RECONSTRUCTION_ERROR)
        values = np.column_stack([numbers[name] for name in self._features])
        errors = reconstruction_errors(standardised(values, self._mean, self._deviation), self._directions)
        place = self.layout.place(RECONSTRUCTION_ERROR)
        total[place.bins] = np.bincount(self._bin[column.name](errors), minlength=len(column.counts))
        if isinstance(column, NumericColumn):
            total[place.moments] = fixed_point_moments(errors, column)

    def _fits(self, table: Table, role: str) -> bool:
        """Whether every column of this role is there, of its kind."""
        for column in self.profile.columns:
            if column.role != role:
                continue
            array = table.tensors.get(column.tensor)
            if array is None or column.index >= array.shape[1]:
                return False
            if (array.dtype == object) != (isinstance(column, CategoricalColumn) and column.of_text):
                return False
        return True


def column_binner(column: Column) -> Callable[[Array], Ints]:
    """Make the function from a column's values to its bins' numbers."""
    if isinstance(column, NumericColumn):
        edges = np.array(column.edges)
        return lambda values: _numeric_bins(as_numbers(values), edges)
    known: dict[str | float, int] = dict.fromkeys(column.rare, OTHER)
    for i, category in enumerate(column.categories):
        known[category] = FIRST_CATEGORY + i
    stranger = OTHER if column.open else UNSEEN
    if column.of_text:
        return lambda values: np.array([known.get(category_text(v), stranger) for v in values.tolist()], np.int64)
    codes = np.array(sorted(known), dtype=np.float64)
    bins = np.array([known[code] for code in codes.tolist()], dtype=np.int64)
    return lambda values: _coded_bins(as_numbers(values), codes, bins, stranger)


def category_text(value: object) -> str:
    """Name a category: text as it is, bytes as UTF-8, both cut at 256 characters."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text[:256]


def as_numbers(values: Array) -> Floats:
    """Widen to float64, exactly up to 53 bits."""
    return values.astype(np.float64)


def fixed_point_moments(values: Floats, column: NumericColumn) -> tuple[int, int]:
    """Return sum and sum of squares of the standardised values in units of 1 / UNIT; nulls count nothing."""
    z = (values - column.mean) / (column.deviation or 1.0)
    units = np.rint(np.nan_to_num(np.clip(z, -CUT, CUT)) * UNIT).astype(np.int64)
    return int(units.sum()), int((units * units).sum())


def _numeric_bins(values: Floats, edges: Floats) -> Ints:
    bins = 1 + np.searchsorted(edges, values, side="right")
    bins[np.isnan(values)] = NULL
    return bins


def _coded_bins(values: Floats, codes: Floats, bins: Ints, stranger: int) -> Ints:
    if not len(codes):
        return np.where(np.isnan(values), NULL, stranger)
    nearest = np.minimum(np.searchsorted(codes, values), len(codes) - 1)
    found = np.where(codes[nearest] == values, bins[nearest], stranger)
    return np.where(np.isnan(values), NULL, found)
