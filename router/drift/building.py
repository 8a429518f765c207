"""Builds a reference profile from training or validation rows. Pure.

Edges lie midway between two neighbouring values of the reference, never on one: a value that was rounded to single
precision on its way through a client then still falls into its bin, and a column with few values gets a bin for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from router.drift.binning import FIRST_CATEGORY, RECONSTRUCTION_ERROR, as_numbers, category_text, column_binner
from router.drift.distance import population_stability_index, without_noise
from router.drift.multivariate import minor_directions, reconstruction_errors, standardised
from router.drift.profile import (
    HOURS,
    MAX_CATEGORIES,
    MAX_RARE,
    Calibration,
    CategoricalColumn,
    Column,
    NumericColumn,
    Profile,
    Relations,
    Role,
)
from router.drift.reference import folded
from router.performance.baseline import Baseline, Metric, Task
from router.performance.calibration import calibrate
from router.performance.metrics import baselines
from serving.protocol.arrays import Array

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Kind = Literal["numeric", "categorical"]

INPUT_BINS: Final = 10
OUTPUT_BINS: Final = 20
#: Whole numbers with at most this many different values are taken for categories unless the caller knows better.
FEW_VALUES: Final = 24
#: A category seen more rarely than this shares the bin `other`.
LEAST_SHARE: Final = 0.005
MAX_RELATED: Final = 128
#: Rows per related feature below which the relations are not fitted: they would be noise.
ROWS_PER_RELATED: Final = 10


@dataclass(frozen=True, slots=True)
class ColumnData:
    """One column of the reference."""

    name: str
    values: Array
    """[rows]; NaN is null."""
    tensor: str
    index: int
    role: Role
    kind: Kind | None = None
    """None: told from the values."""


def columns_of(
    tensors: Mapping[str, Array],
    role: Role,
    *,
    names: Mapping[str, Sequence[str]] | None = None,
    kinds: Mapping[str, Kind] | None = None,
) -> list[ColumnData]:
    """Split tensors [rows, ...] into columns.

    Args:
        tensors: by name, the first axis being the rows.
        role: `input` or `output`.
        names: names of a tensor's columns; without, `tensor[3]`, or just `tensor` where it has one.
        kinds: by column name, where the values mislead: station codes are no quantities.
    """
    columns = []
    for tensor, array in tensors.items():
        flat = array.reshape(len(array), -1)
        width = flat.shape[1]
        plain = [tensor] if width == 1 else [f"{tensor}[{i}]" for i in range(width)]
        given = list((names or {}).get(tensor, plain))
        if len(given) != width:
            raise ValueError(f"tensor {tensor!r} has {width} columns, but {len(given)} names were given")
        columns += [
            ColumnData(name, flat[:, i], tensor, i, role, (kinds or {}).get(name)) for i, name in enumerate(given)
        ]
    return columns


def build_profile(
    columns: Sequence[ColumnData],
    *,
    task: Task | None = None,
    score: str = "",
    classes: Sequence[str] = (),
    probabilities: Sequence[str] = (),
    labels: Floats | None = None,
    metrics: Sequence[Metric] = (),
    hours: Ints | None = None,
    stretches: int = 0,
    model_sha256: str = "",
    self_referenced: bool = False,
) -> Profile:
    """Sum up a reference.

    Args:
        columns: inputs and outputs, all of the same rows.
        task: what the model predicts; needed with labels.
        score: name of the output column that is the score.
        classes: names of the classes in the order of their numbers, where answers or labels name them.
        probabilities: names of the output columns that are the probabilities of several classes, in that order.
        labels: [rows], NaN where unknown; with `task` and `score` they give baselines and calibration. The scores
            should be of rows that the model was not fitted on, or the baseline promises too much.
        metrics: those to keep, the first being the one that alarms are raised on; by default those of the task.
        hours: [rows], hour of day, UTC: makes the profile seasonal.
        stretches: cut the rows, which then are in order of time, into this many, about as long as the windows will be,
            and forgive every column what it wanders from one to the other; 0 takes rows for independent.
        model_sha256: of the model file.
        self_referenced: the rows are the first requests, not the training data.
    """
    rows = len(columns[0].values) if columns else 0
    if not rows or any(len(column.values) != rows for column in columns):
        raise ValueError("a profile needs columns, all with the same number of rows, at least one")
    made = [_build_column(column, hours, stretches) for column in columns]
    relations, errors = _relate(columns, made, hours, stretches)
    by_name = {column.name: column.values for column in columns}
    scores = class_numbers(by_name[score], classes) if score in by_name else None
    calibration = None
    found: tuple[Baseline, ...] = ()
    if labels is not None and task is not None and scores is not None:
        known = ~np.isnan(as_numbers(labels)) & ~np.isnan(scores)
        truth, said = as_numbers(labels)[known], scores[known]
        given = np.column_stack([as_numbers(by_name[name]) for name in probabilities]) if probabilities else None
        sure = None if given is None else probability_of(given[known], truth)
        found = baselines(task, said, truth, metrics, sure)
        calibration = Calibration(*calibrate(said, truth)) if task is Task.BINARY and len(truth) else None
    return Profile(
        rows=rows,
        columns=(*made, *errors),
        task=task,
        score=score,
        classes=tuple(classes),
        probabilities=tuple(probabilities),
        relations=relations,
        calibration=calibration,
        baselines=found,
        model_sha256=model_sha256,
        self_referenced=self_referenced,
    )


def class_numbers(values: Array, classes: Sequence[str]) -> Floats:
    """Return answers as numbers: names of classes by their place, -1 for one that has none."""
    if values.dtype != object and values.dtype.kind not in "US":
        return as_numbers(values)
    numbers = {name: float(i) for i, name in enumerate(classes)}
    return np.array([numbers.get(category_text(value), -1.0) for value in values.tolist()])


def probability_of(probabilities: Floats, truth: Floats) -> Floats:
    """Return the probability [rows] that each row [rows, classes] gave to the true class; 0 for one beyond them."""
    number = truth.astype(np.int64)
    is_class = (truth == number) & (number >= 0) & (number < probabilities.shape[1])
    chosen = np.take_along_axis(probabilities, np.where(is_class, number, 0)[:, None], axis=1)[:, 0]
    return np.where(is_class, chosen, 0.0)


def quantile_edges(values: Floats, bins: int) -> tuple[float, ...]:
    """Return at most `bins` + 1 edges between which about equally many of the finite values lie.

    The outer two leave a millionth of the range as margin, for the same rounding that the inner ones evade.
    """
    finite = np.sort(values[np.isfinite(values)])
    if not len(finite):
        return (0.0, 1.0)
    distinct = np.unique(finite)
    margin = 1e-6 * max(float(np.ptp(distinct)), float(np.abs(distinct).max())) or 1e-6
    if len(distinct) <= bins:
        below = np.arange(len(distinct) - 1)
    else:
        cuts = finite[(np.arange(1, bins) * len(finite)) // bins - 1]
        below = np.unique(np.minimum(np.searchsorted(distinct, cuts), len(distinct) - 2))
    inner = (distinct[below] + distinct[below + 1]) / 2
    edges = np.unique(np.concatenate([[distinct[0] - margin], inner, [distinct[-1] + margin]]))
    return tuple(edges.tolist())


def _build_column(data: ColumnData, hours: Ints | None, stretches: int) -> Column:
    kind = data.kind or _kind(data.values)
    column = _numeric(data) if kind == "numeric" else _categorical(data)
    return _counted(column, data.values, hours, stretches)


def _kind(values: Array) -> Kind:
    if values.dtype == object or values.dtype.kind in "bUS":
        return "categorical"
    numbers = as_numbers(values)
    known = numbers[np.isfinite(numbers)]
    whole = bool(np.all(known == np.rint(known)))
    return "categorical" if whole and len(np.unique(known)) <= FEW_VALUES else "numeric"


def _numeric(data: ColumnData) -> NumericColumn:
    values = as_numbers(data.values)
    finite = values[np.isfinite(values)]
    edges = quantile_edges(values, INPUT_BINS if data.role == "input" else OUTPUT_BINS)
    return NumericColumn(
        name=data.name,
        tensor=data.tensor,
        index=data.index,
        role=data.role,
        edges=edges,
        counts=(0,) * (len(edges) + 2),
        mean=float(finite.mean()) if len(finite) else 0.0,
        deviation=float(finite.std()) if len(finite) else 0.0,
    )


def _categorical(data: ColumnData) -> CategoricalColumn:
    if data.values.dtype == object or data.values.dtype.kind in "US":
        named = np.array([category_text(value) for value in data.values.tolist()], dtype=object)
    else:
        numbers = as_numbers(data.values)
        named = numbers[np.isfinite(numbers)]
    names, counts = np.unique(named, return_counts=True)
    by_count = sorted(zip(counts.tolist(), names.tolist(), strict=True), key=lambda pair: -pair[0])
    least = LEAST_SHARE * len(data.values)
    listed = [name for count, name in by_count if count >= least][:MAX_CATEGORIES]
    rest = [name for _, name in by_count[len(listed) :]]
    return CategoricalColumn(
        name=data.name,
        tensor=data.tensor,
        index=data.index,
        role=data.role,
        categories=tuple(listed),
        rare=tuple(rest[:MAX_RARE]),
        open=len(rest) > MAX_RARE,
        counts=(0,) * (FIRST_CATEGORY + len(listed)),
    )


def _counted(column: Column, values: Array, hours: Ints | None, stretches: int) -> Column:
    """Count the reference by the very function that will count the stream."""
    bins, size = column_binner(column)(values), len(column.counts)
    fields = {name: getattr(column, name) for name in column.__struct_fields__}
    fields["counts"] = tuple(np.bincount(bins, minlength=size).tolist())
    if hours is not None:
        fields["hourly"] = tuple(
            tuple(np.bincount(bins[hours == hour], minlength=size).tolist()) for hour in range(HOURS)
        )
    if stretches:
        fields["wander"] = _wander(column, bins, stretches)
    return type(column)(**fields)


def _wander(column: Column, bins: Ints, stretches: int) -> float:
    size = len(column.counts)
    usual = folded(column, np.bincount(bins, minlength=size))
    far = 0.0
    for stretch in np.array_split(bins, stretches):
        counts = folded(column, np.bincount(stretch, minlength=size))
        if not counts.sum():
            continue
        index = population_stability_index(counts / counts.sum(), usual / usual.sum())
        far = max(far, without_noise(index, len(counts), counts.sum(), usual.sum()))
    return float(far)


def _relate(
    data: Sequence[ColumnData], made: Sequence[Column], hours: Ints | None, stretches: int
) -> tuple[Relations | None, tuple[Column, ...]]:
    """Fit relations on every other row and bin the errors of the rows between, which the fit has not seen."""
    related = [
        (each, column)
        for each, column in zip(data, made, strict=True)
        if isinstance(column, NumericColumn) and column.role == "input" and column.deviation > 0
    ][:MAX_RELATED]
    if len(related) < 3 or len(data[0].values) < 2 * ROWS_PER_RELATED * len(related):
        return None, ()
    z = standardised(
        np.column_stack([as_numbers(each.values) for each, _ in related]),
        np.array([column.mean for _, column in related]),
        np.array([column.deviation for _, column in related]),
    )
    directions = minor_directions(z[::2])
    errors = reconstruction_errors(z[1::2], directions)
    relations = Relations(tuple(column.name for _, column in related), tuple(map(tuple, directions.tolist())))
    derived = ColumnData(RECONSTRUCTION_ERROR, errors, "", 0, "derived", "numeric")
    return relations, (_build_column(derived, None if hours is None else hours[1::2], stretches),)
