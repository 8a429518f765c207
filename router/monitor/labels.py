"""Late labels meet the answers that they are about: what becomes of each label, and what it tells of its arm. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import isfinite, nan
from typing import NamedTuple

import msgspec

from router.monitor.baseline_choice import Standard, columns
from router.monitor.state import MEASURED_ROWS, ArmState, Judged, SecondOpinion
from router.performance.adwin import Adwin
from router.performance.alarm import AlarmSettings, advance
from router.performance.baseline import Task
from router.performance.loss import bounded_losses
from router.performance.metrics import TASK_METRICS, Estimate, measure

_Value = bool | float | str


class Label(NamedTuple):
    """What came to be known of one answer."""

    model: str
    request_id: str
    values: tuple[float | str, ...]
    """One for each row of the request: a number, or the name of a class."""
    at: float
    """Unix seconds at which it was posted."""


class Prediction(NamedTuple):
    """What is kept of an answer until its label comes."""

    version: int
    arm: str
    at: float
    scores: tuple[float, ...]
    """One for each row."""
    probabilities: tuple[float, ...] = ()
    """Of several classes, row after row; empty where the model gives none."""


class Pairing(NamedTuple):
    """A label beside its answer."""

    prediction: Prediction
    label: Label


encode_prediction = msgspec.msgpack.Encoder().encode
decode_prediction = msgspec.msgpack.Decoder(Prediction).decode


def read_label(model: str, request_id: str, document: bytes, at: str) -> Label | None:
    """Read a label as posted: a number, a text, true or false, or a list of them; None for anything else."""
    try:
        found = msgspec.json.decode(document, type=_Value | list[_Value])
        moment = float(at)
    except (msgspec.MsgspecError, ValueError, UnicodeDecodeError):
        return None
    values = tuple([each if isinstance(each, str) else float(each) for each in _rows(found)])
    numbers = [each for each in values if isinstance(each, float)]
    if not values or not all(map(isfinite, numbers)) or not isfinite(moment):
        return None
    return Label(model, request_id, values, moment)


def _rows(found: _Value | list[_Value]) -> list[_Value]:
    return found if isinstance(found, list) else [found]


def paired(classes: Sequence[str], task: Task | None, pairing: Pairing) -> list[Judged] | None:
    """Lay the rows of an answer beside those of its label; None when the label is none of this task.

    Args:
        classes: names in the order of their numbers.
        task: what the model predicts; None while that is not known.
        pairing: answer and label.
    """
    prediction, label = pairing
    truth = [_number(classes, value) for value in label.values]
    if len(truth) != len(prediction.scores):
        return None
    known = [each for each in truth if each is not None]
    if len(known) != len(truth) or (task is Task.BINARY and not set(known) <= {0.0, 1.0}):
        return None
    width = len(prediction.probabilities) // len(truth)
    rows = []
    for i, (said, true) in enumerate(zip(prediction.scores, known, strict=True)):
        is_class = true.is_integer() and 0 <= true < width
        sure = prediction.probabilities[i * width + int(true)] if is_class else 0.0 if width else nan
        rows.append(Judged(said, true, sure))
    return rows


def _number(classes: Sequence[str], value: float | str) -> float | None:
    """Return a label as a number; None for a name that no class has."""
    if not isinstance(value, str):
        return value
    return float(classes.index(value)) if value in classes else None


def count(state: ArmState, pairing: Pairing) -> None:
    """Count an answer of an arm that has its label."""
    state.labelled += 1
    state.lag_total_s += max(0.0, pairing.label.at - pairing.prediction.at)  # clocks of two machines may disagree


def learn(state: ArmState, standard: Standard, judged: Sequence[Judged], settings: AlarmSettings) -> None:
    """Hold labelled rows against an arm, in the order in which their labels came."""
    kept = [*state.pairs, *judged]
    state.pairs = list(islice(kept, max(0, len(kept) - MEASURED_ROWS), None))
    baseline = standard.watched
    if baseline is None:
        return
    said, truth, sure = columns(judged)
    losses, state.pending = bounded_losses(
        baseline.metric,
        standard.task,
        said,
        truth,
        sure=sure if standard.task is Task.MULTICLASS else None,
        scale=baseline.scale,
        pending=state.pending,
    )
    found = losses.tolist()
    state.alarm = advance(state.alarm, found, baseline, settings)
    state.second_opinion = second_opinion(state.second_opinion, found)


def second_opinion(before: SecondOpinion, losses: Sequence[float]) -> SecondOpinion:
    """Let ADWIN take the losses that the alarm took."""
    adwin = Adwin(state=before.window)
    changes, last, mean = before.changes, before.last_change_at, before.mean_before
    for loss in losses:
        usual = adwin.mean
        if adwin.update(loss):
            changes, last, mean = changes + 1, adwin.seen, usual
    return SecondOpinion(window=adwin.state, changes=changes, last_change_at=last, mean_before=mean)


def metrics_of(state: ArmState, task: Task) -> dict[str, Estimate]:
    """Measure every metric of the task on the latest labelled rows."""
    if not state.pairs:
        return {}
    said, truth, sure = columns(state.pairs)
    return {metric.value: measure(metric, task, said, truth, sure) for metric in TASK_METRICS[task]}
