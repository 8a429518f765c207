"""Rows to counts: the hot loop of the monitor, vectorised over the rows and columns of a batch. Pure.

A column's bin depends on its row alone, never on the rows that happen to come with it, so counts do not depend on how
a stream was cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from router.drift.layout import SCORE_GRID, Layout
from router.drift.multivariate import reconstruction_errors, standardised
from router.drift.numbers import NULL, NumericBlock, numeric_bins, padded_edges
from router.drift.pane import Pane
from router.drift.profile import CategoricalColumn, Column, NumericColumn, Profile, Role, encode_profile, profile_sha256
from router.drift.rows import Stacked, Table, stack_rows
from serving.protocol.arrays import Array
from serving.protocol.messages import Buffer

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNSEEN, OTHER, FIRST_CATEGORY = 1, 2, 3
_NONE: Final[frozenset[str]] = frozenset()
#: Blocks of columns that are kept ready: one for each role, and for each set of tensors that payloads were without.
_MAX_BLOCKS: Final = 64
#: Name of the derived column of `multivariate`.
RECONSTRUCTION_ERROR = "reconstruction_error"


class Binner:
    """A profile made ready to count rows."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.name = profile_sha256(encode_profile(profile))
        """Of the profile: counts in its bins are of no use to another one."""
        self.layout = Layout.of(profile)
        self._tensors = frozenset(column.tensor for column in profile.columns)
        self._blocks: dict[tuple[str, frozenset[str]], NumericBlock] = {}
        self._categories = [
            (column, self.layout.place(column.name).bins, column_binner(column))
            for column in profile.columns
            if isinstance(column, CategoricalColumn)
        ]
        self._relations = _RelationCounter(self, profile) if profile.relations else None

    def bin_payloads(self, inputs: Sequence[Buffer], outputs: Sequence[Buffer], at: Sequence[float]) -> Pane:
        """Count packed tensors as they lie in the log, all into one pane; see `bin_stacked`."""
        slots = np.zeros(len(at), np.int64)
        panes = self.bin_stacked(stack_rows(inputs), stack_rows(outputs), at, slots)
        return panes.get(0, Pane.empty(self.layout))

    def bin_stacked(self, inputs: Stacked, outputs: Stacked, at: Sequence[float], slots: Ints) -> dict[int, Pane]:
        """Count requests, slot by slot.

        Args:
            inputs: of the requests; those that have none are left out of it.
            outputs: the same.
            at: Unix seconds of each request.
            slots: the slot of each.

        What cannot be read, or lacks a column of the profile, is counted as broken and otherwise left out.
        """
        names, where = np.unique(slots, return_inverse=True)
        totals = np.zeros((len(names), self.layout.size), np.int64)
        hours = (np.asarray(at) // 3600).astype(np.int64) % 24
        for role, stacked in (("input", inputs), ("output", outputs)):
            np.add.at(totals[:, self.layout.messages], where[list(stacked.present)], 1)
            broken = list(stacked.unreadable)
            for table in stacked.tables:
                if self.fits(table, role):
                    rows = (hours[table.owner], where[table.owner])
                    self._add(table.tensors, role, rows, totals, self.missing(table))
                else:
                    broken += np.unique(table.owner).tolist()
            np.add.at(totals[:, self.layout.broken], where[broken], 1)
        return {int(name): Pane(self.layout, total) for name, total in zip(names, totals, strict=True)}

    def bin_rows(self, tensors: Mapping[str, Array], role: Role, hours: Ints) -> Pane:
        """Count rows of tensors [rows, width] that hold every column of a role, with their hours of day [rows]."""
        totals = np.zeros((1, self.layout.size), np.int64)
        self._add(tensors, role, (hours, np.zeros(len(hours), np.int64)), totals)
        return Pane(self.layout, totals[0])

    def numbers(self, tensors: Mapping[str, Array], role: str, missing: frozenset[str] = _NONE) -> Floats:
        """Return the numeric columns [columns, rows] of a role, but for those of missing tensors."""
        columns = self._block(role, missing).columns
        rows = len(next(iter(tensors.values()), ()))
        values = np.empty((len(columns), rows))
        for i, column in enumerate(columns):
            values[i] = tensors[column.tensor][:, column.index]
        return values

    def _block(self, role: str, missing: frozenset[str]) -> NumericBlock:
        block = self._blocks.get((role, missing))
        if block is None:
            if len(self._blocks) >= _MAX_BLOCKS:
                self._blocks.clear()
            columns = [column for column in _numeric(self.profile, role) if column.tensor not in missing]
            block = self._blocks[role, missing] = NumericBlock(columns, self.layout)
        return block

    def _add(
        self,
        tensors: Mapping[str, Array],
        role: str,
        rows: tuple[Ints, Ints],
        totals: Ints,
        missing: frozenset[str] = _NONE,
    ) -> None:
        hours, where = rows
        size = totals.shape[1]
        values = self.numbers(tensors, role, missing)
        block = self._block(role, missing)
        if block.columns:
            block.add(values, where, totals)
        for column, place, bins_of in self._categories:
            if column.role == role and column.tensor not in missing:
                bins = bins_of(tensors[column.tensor][:, column.index])
                np.add.at(totals.reshape(-1), where * size + place.start + bins, 1)
        if role == "input":
            np.add.at(totals.reshape(-1), where * size + self.layout.hours.start + hours, 1)
            if self._relations is not None and not missing:
                self._relations.add(values, where, totals)
        elif self.layout.has_scores and self.profile.column(self.profile.score).tensor not in missing:
            self._add_scores(tensors, where, totals)

    def _add_scores(self, tensors: Mapping[str, Array], where: Ints, totals: Ints) -> None:
        column = self.profile.column(self.profile.score)
        scores = as_numbers(tensors[column.tensor][:, column.index])
        known = ~np.isnan(scores)
        cells = np.clip(scores[known] * SCORE_GRID, 0, SCORE_GRID - 1).astype(np.int64)
        np.add.at(totals.reshape(-1), where[known] * totals.shape[1] + self.layout.scores.start + cells, 1)

    def missing(self, table: Table) -> frozenset[str]:
        """List the tensors of the profile that a table has not, since they have no entry for each row."""
        return table.left_out & self._tensors

    def fits(self, table: Table, role: str) -> bool:
        """Whether a table has every column of a role, each of its kind, but for tensors that are left out."""
        for column in self.profile.columns:
            if column.role != role or column.tensor in table.left_out:
                continue
            array = table.tensors.get(column.tensor)
            if array is None or column.index >= array.shape[1]:
                return False
            if (array.dtype == object) != (isinstance(column, CategoricalColumn) and column.of_text):
                return False
        return True


class _RelationCounter:
    """Counts the errors of rows against the relations of a profile."""

    def __init__(self, binner: Binner, profile: Profile) -> None:
        relations = profile.relations
        assert relations is not None, "made only where there are some"
        inputs = _numeric(profile, "input")
        names = [column.name for column in inputs]
        self._rows = [names.index(feature) for feature in relations.features]
        self._mean = np.array([inputs[i].mean for i in self._rows])
        self._deviation = np.array([inputs[i].deviation for i in self._rows])
        self._directions = np.asarray(relations.directions)
        self._block = NumericBlock(_numeric(profile, "derived"), binner.layout)

    def add(self, inputs: Floats, where: Ints, totals: Ints) -> None:
        """Count rows, given all numeric inputs [columns, rows]."""
        z = standardised(inputs[self._rows].T, self._mean, self._deviation)
        self._block.add(reconstruction_errors(z, self._directions)[None], where, totals)


def column_binner(column: Column) -> Callable[[Array], Ints]:
    """Make the function from a column's values to its bins' numbers."""
    if isinstance(column, NumericColumn):
        edges = padded_edges([column.edges])
        return lambda values: numeric_bins(as_numbers(values)[None], edges)[0]
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


def _numeric(profile: Profile, role: str) -> list[NumericColumn]:
    return [column for column in profile.columns if column.role == role and isinstance(column, NumericColumn)]


def _coded_bins(values: Floats, codes: Floats, bins: Ints, stranger: int) -> Ints:
    if not len(codes):
        return np.where(np.isnan(values), NULL, stranger)
    nearest = np.minimum(np.searchsorted(codes, values), len(codes) - 1)
    found = np.where(codes[nearest] == values, bins[nearest], stranger)
    return np.where(np.isnan(values), NULL, found)
