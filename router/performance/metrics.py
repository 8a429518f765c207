"""Metrics of predictions beside their labels, each with its count and a 95 % interval. Pure.

Intervals are for people and for the baseline; alarms come from `alarm`, whose guarantee needs none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from router.performance.baseline import Baseline, Metric, Task
from router.performance.loss import bounded_losses, row_losses
from router.performance.ranking import area_under_roc

Floats = npt.NDArray[np.float64]

_Z: Final = 1.959963984540054
TASK_METRICS: Final[dict[Task, tuple[Metric, ...]]] = {
    Task.BINARY: (Metric.ACCURACY, Metric.AUC, Metric.F1, Metric.BRIER, Metric.LOG_LOSS),
    Task.MULTICLASS: (Metric.ACCURACY, Metric.F1, Metric.LOG_LOSS),
    Task.REGRESSION: (Metric.MAE, Metric.RMSE, Metric.MAPE),
}


class Estimate(NamedTuple):
    """A metric of `n` labelled rows; NaN where they do not determine it."""

    value: float
    low: float
    high: float
    n: int


def measure(metric: Metric, task: Task, said: Floats, truth: Floats, sure: Floats | None = None) -> Estimate:
    """Measure one metric; F1 of several classes is the mean over classes ("macro").

    Args:
        metric: which.
        task: what the model predicts.
        said: [rows], the score (binary: probability of class 1), class number or value; finite.
        truth: [rows], labels: 0 or 1, class number or value; finite.
        sure: [rows], probability given to the true one of several classes; NaN or None where there is none.

    Assumed for the interval: independent rows.
    """
    if metric is Metric.AUC:
        area, error = area_under_roc(said, truth > 0.5)
        return _normal(area, error, len(truth), highest=1.0)
    if metric is Metric.F1:
        return _f1(said >= 0.5, truth > 0.5) if task is Task.BINARY else macro_f1(said, truth)
    if metric is Metric.LOG_LOSS and task is Task.MULTICLASS and (sure is None or np.isnan(sure).any()):
        return Estimate(np.nan, np.nan, np.nan, 0)
    losses = row_losses(metric, task, said, truth, sure if task is Task.MULTICLASS else None)
    if not len(losses):
        return Estimate(np.nan, np.nan, np.nan, 0)
    if metric is Metric.ACCURACY:
        return _wilson(1 - losses)
    found = _mean(losses)
    if metric is Metric.RMSE:
        return Estimate(found.value**0.5, found.low**0.5, found.high**0.5, found.n)
    return found


def baselines(
    task: Task, said: Floats, truth: Floats, metrics: Sequence[Metric] = (), sure: Floats | None = None
) -> tuple[Baseline, ...]:
    """Measure the metrics to hold a model to, by default all of its task; those left open by the rows are left out."""
    found = []
    for metric in metrics or TASK_METRICS[task]:
        value, low, high, n = measure(metric, task, said, truth, sure)
        if not np.isfinite([value, low, high]).all():
            continue
        own = sure if task is Task.MULTICLASS else None
        loss, error, scale = 0.0, 0.0, _scale(metric, task, said, truth, own)
        if metric.has_bounded_loss:
            losses, _ = bounded_losses(metric, task, said, truth, sure=own, scale=scale)
            loss = float(losses.mean()) if len(losses) else 0.0
            error = float(losses.std(ddof=1)) / len(losses) ** 0.5 if len(losses) > 1 else 1.0
        found.append(Baseline(metric, value, low, high, n, loss, error, scale))
    return tuple(found)


def _scale(metric: Metric, task: Task, said: Floats, truth: Floats, sure: Floats | None) -> float:
    """Choose the largest loss that alarms count: rare giants are cut, so that they can neither hide nor make a drop."""
    if metric.has_unit_loss or not metric.has_bounded_loss:
        return 1.0
    return max(2 * float(np.quantile(row_losses(metric, task, said, truth, sure), 0.99)), 1e-12)


def _mean(values: Floats) -> Estimate:
    n = len(values)
    error = float(values.std(ddof=1)) / n**0.5 if n > 1 else float("nan")
    return _normal(float(values.mean()), error, n)


def _normal(value: float, error: float, n: int, highest: float = np.inf) -> Estimate:
    return Estimate(value, max(0.0, value - _Z * error), min(highest, value + _Z * error), n)


def _wilson(right: Floats) -> Estimate:
    """Return a share with Wilson's interval, which is right also near 0 and 1."""
    n = len(right)
    share, z2 = float(right.mean()), _Z**2 / n
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z / (1 + z2) * float(np.sqrt(share * (1 - share) / n + z2 / (4 * n)))
    return Estimate(share, min(share, middle - half), max(share, middle + half), n)


def _f1(decided: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> Estimate:
    """Return F1 = 2 TP / (2 TP + FP + FN) of class 1; its variance by the delta method on the two shares."""
    n = len(truth)
    hits = float(np.sum(decided & truth)) / max(1, n)
    misses = float(np.sum(decided != truth)) / max(1, n)
    if hits + misses == 0:
        return Estimate(np.nan, np.nan, np.nan, n)
    whole = 2 * hits + misses
    gradient = np.array([2 * misses, -2 * hits]) / whole**2
    covariance = np.array([[hits * (1 - hits), -hits * misses], [-hits * misses, misses * (1 - misses)]]) / n
    return _normal(2 * hits / whole, max(0.0, float(gradient @ covariance @ gradient)) ** 0.5, n, highest=1.0)


def macro_f1(said: Floats, truth: Floats) -> Estimate:
    """Return the mean over classes of F1 = 2 TP / (said + true); its variance by the delta method on all shares.

    Takahashi, Yamamoto, Kuchiba, Koyama: "Confidence interval for micro-averaged F1 and macro-averaged F1 scores",
    Applied Intelligence 52 (2022). Classes that neither model nor labels name do not count.
    """
    names, cell = np.unique(np.concatenate([said, truth]), return_inverse=True)
    n, k = len(truth), len(names)
    shares = np.zeros((k, k))
    np.add.at(shares, (cell[:n], cell[n:]), 1 / max(1, n))
    if not n:
        return Estimate(np.nan, np.nan, np.nan, 0)
    hits, whole = np.diag(shares), shares.sum(axis=0) + shares.sum(axis=1)
    lost = -2 * hits / whole**2 / k
    gradient = lost[:, None] + lost[None, :]
    gradient[np.diag_indices(k)] += 2 / whole / k
    variance = (float(np.sum(gradient**2 * shares)) - float(np.sum(gradient * shares)) ** 2) / n
    return _normal(float(np.mean(2 * hits / whole)), max(0.0, variance) ** 0.5, n, highest=1.0)
