"""Scores a loaded model on a labelled table: quality over all rows, and in each slice of them. Pure.

A model that is good on the whole can be bad for a part of its users. A slice is the rows that share a value of a
column; small slices are left out, since their score is chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from serving.backends.backend import Array, Backend
from serving.protocol.errors import invalid
from serving.registry.finding import Finding, failed, ok, skipped
from serving.registry.table import read_table, run_rows, table_inputs

Metric = Literal["accuracy", "mae", "rmse"]
MIN_SLICE_ROWS: Final = 30
Floats = npt.NDArray[np.float64]


class Labelled(msgspec.Struct, frozen=True):
    """A labelled table and what is asked of a model on it."""

    table: str
    """CSV with a header."""
    label: str
    """Column of the true answers."""
    metric: Metric = "accuracy"
    threshold: float | None = None
    """Accuracy to reach, or error not to exceed; None only reports."""
    slices: tuple[str, ...] = ()
    max_slice_gap: float | None = None
    """How much worse than the whole a slice may be; None only reports."""


def score(backend: Backend, asked: Labelled) -> tuple[Finding, ...]:
    """Run the model on every row and judge it.

    Raises:
        ServingError: INVALID, the table does not fit the model.
    """
    columns = read_table(asked.table, (asked.label, *asked.slices))
    features = {name: values for name, values in columns.items() if name != asked.label}
    inputs = table_inputs(backend.signature.inputs, features, asked.slices).arrays
    predictions = _predict(backend, inputs, len(columns[asked.label]))
    losses = _losses(asked.metric, predictions, columns[asked.label])
    overall = _value(asked.metric, losses)
    groups = _groups(asked.slices, columns)
    return _judge_quality(asked, overall, len(losses)), _judge_slices(asked, overall, losses, groups)


def _judge_quality(asked: Labelled, overall: float, rows: int) -> Finding:
    seen = f"{asked.metric} {overall:.4g} on {rows} rows"
    if asked.threshold is None:
        return ok("quality", seen)
    if _is_worse(asked.metric, overall, asked.threshold):
        return failed("quality", f"{seen}, asked for {asked.threshold:g}", "train a better model, or ask for less")
    return ok("quality", f"{seen}, asked for {asked.threshold:g}")


def _judge_slices(asked: Labelled, overall: float, losses: Floats, groups: Mapping[str, list[int]]) -> Finding:
    scores = {name: _value(asked.metric, losses[rows]) for name, rows in groups.items() if len(rows) >= MIN_SLICE_ROWS}
    if not scores:
        return skipped("slices", f"no slice of {MIN_SLICE_ROWS} rows or more" if groups else "no column is given")
    sign = 1.0 if asked.metric == "accuracy" else -1.0
    worst = min(scores, key=lambda name: sign * scores[name])
    gap = sign * (overall - scores[worst])
    seen = f"worst of {len(scores)} slices is {worst} with {asked.metric} {scores[worst]:.4g}, {gap:.4g} from the whole"
    if asked.max_slice_gap is not None and gap > asked.max_slice_gap:
        return failed("slices", f"{seen}; allowed is {asked.max_slice_gap:g}", "train on more rows of that slice")
    return ok("slices", seen)


def _is_worse(metric: Metric, value: float, threshold: float) -> bool:
    return value < threshold if metric == "accuracy" else value > threshold


def _predict(backend: Backend, inputs: Mapping[str, Array], rows: int) -> Array:
    """Take integer or text answers as classes, the largest of several numbers as the class's place."""
    pieces = []
    for outputs in run_rows(backend, inputs, rows):
        classes = next((array for array in outputs.values() if array.dtype.kind in "iuO"), None)
        pieces.append(next(iter(outputs.values())) if classes is None else classes)
    answers = np.concatenate(pieces)
    if answers.ndim == 2 and answers.shape[1] > 1:
        return np.asarray(answers.argmax(axis=1))
    return answers.reshape(rows)


def _losses(metric: Metric, predictions: Array, labels: Sequence[str]) -> Floats:
    """Loss of each row: 0 or 1 for accuracy, else the error or its square."""
    if metric == "accuracy":
        told = [_class_name(value) for value in predictions.tolist()]
        return np.array([float(ours != _class_name(label)) for ours, label in zip(told, labels, strict=True)])
    try:
        errors = np.abs(predictions.astype(np.float64) - np.array(labels, dtype=np.float64))
    except ValueError as error:
        raise invalid(f"metric {metric} needs numbers as labels: {error}") from error
    return errors if metric == "mae" else errors**2


def _class_name(value: object) -> str:
    """Spell a class in one way, whether it came as bytes, as `1`, as `1.0` or as a probability of the second class."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    try:
        number = float(text)
    except ValueError:
        return text
    is_share = isinstance(value, float) and not number.is_integer()
    return str(int(number > 0.5)) if is_share else f"{number:g}"


def _value(metric: Metric, losses: Floats) -> float:
    of: dict[str, Callable[[float], float]] = {"accuracy": lambda loss: 1 - loss, "mae": float, "rmse": np.sqrt}
    return float(of[metric](float(losses.mean())))


def _groups(slices: Sequence[str], columns: Mapping[str, list[str]]) -> dict[str, list[int]]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for name in slices:
        for row, value in enumerate(columns[name]):
            groups[f"{name}={value}"].append(row)
    return groups
