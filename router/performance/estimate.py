"""Performance without labels, from how sure the model is: CBPE. A hint, never more than critical. Pure.

Confidence-based performance estimation (NannyML; Kivimäki et al., arXiv 2505.05295): if among rows of calibrated
probability p a share p is positive, the expected confusion matrix follows from the probabilities alone. It sees what a
shift of the inputs does to performance. It cannot see that the same inputs have come to mean something else (concept
drift): then the calibration itself is wrong. So it may warn and may ask for a retraining, but it never rolls back.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from router.performance.baseline import Baseline, Metric
from router.performance.loss import LEAST_PROBABILITY
from router.performance.metrics import Estimate
from router.performance.severity import Severity

Floats = npt.NDArray[np.float64]

_Z: Final = 1.959963984540054
#: What CBPE can estimate; binary models only.
ESTIMABLE: Final = (Metric.ACCURACY, Metric.AUC, Metric.F1, Metric.BRIER, Metric.LOG_LOSS)


def estimate(metric: Metric, scores: Floats, probabilities: Floats, weights: Floats | None = None) -> Estimate:
    """Estimate a metric of a binary model from unlabelled rows.

    Args:
        metric: one of `ESTIMABLE`.
        scores: [rows], as the model gave them: they decide and rank.
        probabilities: [rows], the same scores calibrated: they say how often that is right.
        weights: [rows], how many rows each stands for; 1 each without.

    The interval is that of the labels' chance alone, were the calibration perfect.
    """
    w = np.ones(len(scores)) if weights is None else weights
    if not w.sum():
        return Estimate(np.nan, np.nan, np.nan, 0)
    p, decided = probabilities, scores >= 0.5
    match metric:
        case Metric.ACCURACY:
            return _of_rows(np.where(decided, 1.0, 0.0), np.where(decided, 0.0, 1.0), p, w)
        case Metric.BRIER:
            return _of_rows((1 - scores) ** 2, scores**2, p, w)
        case Metric.LOG_LOSS:
            yes = -np.log(np.clip(scores, LEAST_PROBABILITY, 1))
            no = -np.log(np.clip(1 - scores, LEAST_PROBABILITY, 1))
            return _of_rows(yes, no, p, w)
        case Metric.F1:
            return _expected_f1(decided, p, w)
        case Metric.AUC:
            return _expected_auc(scores, p, w)
        case _:
            raise ValueError(f"{metric} cannot be estimated without labels")


def estimated_severity(
    found: Estimate, baseline: Baseline, *, warning: float = 0.05, critical: float = 0.1
) -> Severity:
    """Grade an estimate by the end of its interval that excuses the model most; `CRITICAL` at most.

    The thresholds are wider apart than those of labelled alarms, since calibration is itself an estimate.
    """
    if not np.isfinite(found.value):
        return Severity.OK
    drop = baseline.drop(found.high if baseline.metric.more_is_better else found.low)
    if drop >= critical:
        return Severity.CRITICAL
    return Severity.WARNING if drop >= warning else Severity.OK


def _of_rows(if_positive: Floats, if_negative: Floats, p: Floats, w: Floats) -> Estimate:
    """Expect a mean over rows of what a row counts if it is positive, and if it is not."""
    n = float(w.sum())
    value = float(np.sum(w * (p * if_positive + (1 - p) * if_negative))) / n
    error = float(np.sqrt(np.sum(w * p * (1 - p) * (if_positive - if_negative) ** 2))) / n
    return Estimate(value, value - _Z * error, value + _Z * error, round(n))


def _expected_f1(decided: npt.NDArray[np.bool_], p: Floats, w: Floats) -> Estimate:
    hits, said, true = float((w * p)[decided].sum()), float(w[decided].sum()), float((w * p).sum())
    value = 2 * hits / (said + true) if said + true else float("nan")
    error = 2 * float(np.sqrt(np.sum((w * p * (1 - p))[decided]))) / (said + true) if said + true else float("nan")
    return Estimate(value, max(0.0, value - _Z * error), min(1.0, value + _Z * error), round(w.sum()))


def _expected_auc(scores: Floats, p: Floats, w: Floats) -> Estimate:
    """Weigh each pair of rows by the probability that the first is positive and the second negative."""
    n = round(w.sum())
    order = np.argsort(scores, kind="stable")
    _, group = np.unique(scores[order], return_inverse=True)
    positive = np.bincount(group, weights=(w * p)[order])
    negative = np.bincount(group, weights=(w * (1 - p))[order])
    below = np.cumsum(negative) - negative
    pairs = positive.sum() * negative.sum()
    if pairs <= 0:
        return Estimate(float("nan"), float("nan"), float("nan"), n)
    value = float(np.sum(positive * (below + negative / 2)) / pairs)
    # Hanley and McNeil (1982), with the expected numbers of both classes.
    m, k = float(positive.sum()), float(negative.sum())
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    variance = (value * (1 - value) + (m - 1) * (q1 - value**2) + (k - 1) * (q2 - value**2)) / (m * k)
    error = float(np.sqrt(max(0.0, variance)))
    return Estimate(value, max(0.0, value - _Z * error), min(1.0, value + _Z * error), n)
