"""Late labels meet the answers that they are about: what becomes of each label, and what it tells of its arm. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import isfinite
from typing import NamedTuple

import msgspec
import numpy as np

from router.drift.profile import Profile
from router.monitor.state import MEASURED_ROWS, Arm, ArmState, Sample
from router.performance.alarm import AlarmSettings, advance
from router.performance.baseline import Baseline, Task
from router.performance.loss import Pair, bounded_losses
from router.performance.metrics import TASK_METRICS, Estimate, measure
from serving.protocol.arrays import to_array
from serving.protocol.errors import ServingError
from serving.protocol.packing import unpack_tensors


class Label(NamedTuple):
    """What came to be known of one answer."""

    model: str
    request_id: str
    values: tuple[float, ...]
    """One for each row of the request."""
    at: float
    """Unix seconds at which it was posted."""


class Prediction(NamedTuple):
    """What is kept of an answer until its label comes."""

    version: int
    arm: str
    at: float
    scores: tuple[float, ...]
    """One for each row."""


class Pairing(NamedTuple):
    """A label beside its answer."""

    prediction: Prediction
    label: Label


encode_prediction = msgspec.msgpack.Encoder().encode
decode_prediction = msgspec.msgpack.Decoder(Prediction).decode


def read_label(model: str, request_id: str, document: bytes, at: str) -> Label | None:
    """Read a label as posted: a number, true or false, or a list of them; None for anything else."""
    try:
        found = msgspec.json.decode(document, type=float | bool | list[float | bool])
        moment = float(at)
    except (msgspec.MsgspecError, ValueError, UnicodeDecodeError):
        return None
    values = tuple(float(value) for value in (found if isinstance(found, list) else [found]))
    if not values or not all(map(isfinite, values)) or not isfinite(moment):
        return None
    return Label(model, request_id, values, moment)


def can_be_judged(profile: Profile) -> bool:
    """Tell whether labels say anything about a version with this profile."""
    return profile.task is not None and bool(profile.score) and bool(profile.baselines)


def predicted(profile: Profile, arm: Arm, sample: Sample) -> Prediction | None:
    """Pick the scores out of an answer; None when it has none that could be compared with a label."""
    column = profile.column(profile.score)
    try:
        tensor = next(each for each in unpack_tensors(sample.outputs) if each.name == column.tensor)
        array = to_array(tensor)
        scores = array.reshape(array.shape[0] if array.ndim else 1, -1)[:, column.index].astype(np.float64)
    except (ServingError, StopIteration, ValueError, IndexError):
        return None
    if not len(scores) or not np.isfinite(scores).all():
        return None
    return Prediction(arm.version, arm.name, sample.at, tuple(scores.tolist()))


def suits(task: Task | None, pairing: Pairing) -> bool:
    """Tell whether a label is one of this task, for as many rows as were asked."""
    if len(pairing.label.values) != len(pairing.prediction.scores):
        return False
    return task is not Task.BINARY or set(pairing.label.values) <= {0.0, 1.0}


def learn(state: ArmState, profile: Profile, pairings: Sequence[Pairing], settings: AlarmSettings) -> None:
    """Take labels of one arm, in the order in which they came."""
    baseline = watched_baseline(profile)
    if profile.task is None or baseline is None:
        return
    pairs: list[Pair] = []
    for prediction, label in pairings:
        pairs += zip(prediction.scores, label.values, strict=True)
        state.labelled += 1
        state.lag_total_s += max(0.0, label.at - prediction.at)  # clocks of two machines may disagree
    said, truth = np.array(pairs).T
    losses, state.pending = bounded_losses(
        baseline.metric, profile.task, said, truth, scale=baseline.scale, pending=state.pending
    )
    state.alarm = advance(state.alarm, losses.tolist(), baseline, settings)
    kept = [*state.pairs, *pairs]
    state.pairs = list(islice(kept, max(0, len(kept) - MEASURED_ROWS), None))


def watched_baseline(profile: Profile) -> Baseline | None:
    """Return the baseline that alarms are raised on: the first whose metric a bounded loss stands for."""
    return next((each for each in profile.baselines if each.metric.has_bounded_loss), None)


def metrics_of(state: ArmState, profile: Profile) -> dict[str, Estimate]:
    """Measure every metric of the task on the latest labelled rows."""
    if not state.pairs or profile.task is None:
        return {}
    said, truth = np.array(state.pairs).T
    return {metric.value: measure(metric, profile.task, said, truth) for metric in TASK_METRICS[profile.task]}
