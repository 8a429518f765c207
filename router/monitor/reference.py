"""The reference of a version: the profile that came with it if it fits, else one made from its first answers. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from router.drift.binning import category_text
from router.drift.building import ColumnData, build_profile, columns_of
from router.drift.profile import MAX_CATEGORIES, CategoricalColumn, Profile
from router.drift.rows import Table, stack_rows
from router.monitor.state import Sample

#: Bytes of answers kept while there are too few for a reference; answers beyond this make do with fewer rows.
MAX_GATHERED_BYTES: Final = 8 << 20


def misfit(profile: Profile, sample: Sample) -> str:
    """Say why a profile cannot be that of the model that gave this answer; empty when it can."""
    for role, payload in (("input", sample.inputs), ("output", sample.outputs)):
        tables = stack_rows([payload]).tables if payload else ()
        for column in profile.columns:
            if column.role != role:
                continue
            if not tables:
                return f"the model's answers have no {role}s that could be read"
            if column.tensor in tables[0].left_out:
                continue
            array = tables[0].tensors.get(column.tensor)
            if array is None:
                return f"the model has no {role} {column.tensor!r}, which column {column.name!r} is of"
            if column.index >= array.shape[1]:
                return f"{role} {column.tensor!r} has {array.shape[1]} values a row, no number {column.index}"
            if (array.dtype == object) != (isinstance(column, CategoricalColumn) and column.of_text):
                return f"{role} {column.tensor!r} and column {column.name!r} differ: one is text, the other numeric"
    return ""


def rows_of(sample: Sample) -> int:
    """Count the rows of an answer; 0 when it cannot be read."""
    return sum(len(table.owner) for table in stack_rows([sample.inputs or sample.outputs]).tables)


def self_reference(samples: Sequence[Sample]) -> Profile | None:
    """Make a profile of the first answers, marked as such; None when they hold no columns.

    Where clients have sent tensors of several schemas, the one with most rows is taken.
    """
    columns: list[ColumnData] = []
    tables = [_largest([sample.inputs for sample in samples]), _largest([sample.outputs for sample in samples])]
    rows = min((len(table.owner) for table in tables if table is not None), default=0)
    for role, table in zip(("input", "output"), tables, strict=True):
        if table is not None:
            kept = {name: array[:rows] for name, array in table.tensors.items()}
            columns += columns_of(kept, "input" if role == "input" else "output")
    if not columns or not rows:
        return None
    score = score_of(columns)
    names = next((each.values for each in columns if each.name == score and each.values.dtype == object), None)
    classes = tuple(sorted({category_text(value) for value in names.tolist()})) if names is not None else ()
    return build_profile(columns, score=score, classes=classes[:MAX_CATEGORIES], self_referenced=True)


def score_of(columns: Sequence[ColumnData]) -> str:
    """Tell which output is to be held against labels, should any come; empty when none can be told.

    Of two probabilities it is the second, else the one output that a row has: a value, a class's number or its name.
    """
    by_tensor: defaultdict[str, list[ColumnData]] = defaultdict(list)
    for column in columns:
        if column.role == "output":
            by_tensor[column.tensor].append(column)
    pairs = [each[1].name for each in by_tensor.values() if len(each) == 2 and each[1].values.dtype.kind == "f"]
    single = [each[0].name for each in by_tensor.values() if len(each) == 1]
    return next(iter([*pairs, *single]), "")


def _largest(payloads: Sequence[bytes]) -> Table | None:
    return max(stack_rows(payloads).tables, key=lambda table: len(table.owner), default=None)
