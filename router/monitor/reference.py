"""The reference of a version: the profile that came with it if it fits, else one made from its first answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from router.drift.building import ColumnData, build_profile, columns_of
from router.drift.profile import CategoricalColumn, Profile
from router.drift.rows import Table, stack_rows
from router.monitor.state import Sample

#: Bytes of answers kept while there are too few for a reference; answers beyond this make do with fewer rows.
MAX_GATHERED_BYTES: Final = 8 << 20


def misfit(profile: Profile, sample: Sample) -> str:
    """Say why a profile cannot be that of the model that gave this answer; empty when it can."""
    for role, payload in (("input", sample.inputs), ("output", sample.outputs)):
        tables = stack_rows([payload], [sample.at]).tables if payload else ()
        for column in profile.columns:
            if column.role != role:
                continue
            if not tables:
                return f"the model's answers have no {role}s that could be read"
            array = tables[0].tensors.get(column.tensor)
            if array is None:
                return f"the model has no {role} {column.tensor!r}, which column {column.name!r} is of"
            if column.index >= array.shape[1]:
                return f"{role} {column.tensor!r} has {array.shape[1]} values a row, no number {column.index}"
            if (array.dtype == object) != (isinstance(column, CategoricalColumn) and column.of_text):
                return f"{role} {column.tensor!r} is of another kind than column {column.name!r}"
    return ""


def rows_of(sample: Sample) -> int:
    """Count the rows of an answer; 0 when it cannot be read."""
    return sum(table.rows for table in stack_rows([sample.inputs or sample.outputs], [sample.at]).tables)


def self_reference(samples: Sequence[Sample]) -> Profile | None:
    """Make a profile of the first answers, marked as such; None when they hold no columns.

    Where clients have sent tensors of several schemas, the one with most rows is taken.
    """
    columns: list[ColumnData] = []
    tables = [_largest([s.inputs for s in samples], samples), _largest([s.outputs for s in samples], samples)]
    rows = min((table.rows for table in tables if table is not None), default=0)
    for role, table in zip(("input", "output"), tables, strict=True):
        if table is not None:
            kept = {name: array[:rows] for name, array in table.tensors.items() if np.ndim(array) == 2}
            columns += columns_of(kept, "input" if role == "input" else "output")
    return build_profile(columns, self_referenced=True) if columns and rows else None


def _largest(payloads: Sequence[bytes], samples: Sequence[Sample]) -> Table | None:
    kept = [(payload, sample.at) for payload, sample in zip(payloads, samples, strict=True) if payload]
    tables = stack_rows([payload for payload, _ in kept], [at for _, at in kept]).tables
    return max(tables, key=lambda table: table.rows, default=None)
