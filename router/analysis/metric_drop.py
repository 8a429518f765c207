"""Compares how far one arm's metric on labels has dropped below the other's; safe to ask after every label. Pure.

A drop is relative, as everywhere (`performance.baseline`): 0.05 is 5 % worse than the control arm. Both arms are known
by bounded losses, numbers in [0, 1] whose means stand for the metric:

    more is better (accuracy, AUC)          drop = 1 - r,        r = (1 - canary's loss) / (1 - control's loss)
    less is better (Brier, log loss, MAE)   drop = r - 1,        r = canary's loss / control's loss
    RMSE, whose loss is a squared error     drop = sqrt(r) - 1

Whether r is beyond the limit k is whether the contrast canary's mean - k control's mean is beyond 0, and a contrast of
means has a confidence sequence.
"""

from __future__ import annotations

from enum import StrEnum
from math import sqrt
from typing import Final

from router.analysis.confidence_sequence import half_width, pairs
from router.analysis.counts import Moments
from router.analysis.verdict import Finding, Verdict, judge

#: Stands in for a mean of 0, of which nothing is a part.
_LEAST_MEAN: Final = 1e-12


class Shape(StrEnum):
    """How a mean loss stands for its metric."""

    MORE_IS_BETTER = "more_is_better"
    LESS_IS_BETTER = "less_is_better"
    ROOT = "root"


def compare_metric(
    canary: Moments, control: Moments, *, shape: Shape, metric: str, max_drop: float, alpha: float
) -> Finding:
    """Is the canary's metric worse than the control's by more than `max_drop` of it?

    The probability of a FAIL, ever and however often asked, is at most `alpha` when it is not, and of a PASS when it
    is. Assumed: labelled answers of an arm are independent with one mean loss, and whether an answer gets a label does
    not depend on the arm.

    Args:
        canary: losses in [0, 1] of the arm under trial.
        control: of the arm that it is compared with.
        shape: of the metric.
        metric: its name, for the words.
        max_drop: accepted, 0 to 1.
        alpha: risk of each error.
    """
    n = canary.total + control.total
    if not canary.total or not control.total:
        return Finding(
            Verdict.INCONCLUSIVE, 0.0, -1.0, 1.0, n, f"not yet: an arm has had no label to tell its {metric}"
        )
    mine, theirs = (_mean(arm, shape) for arm in (canary, control))
    limit = _limit(shape, max_drop)
    error_variance = _error_variance(canary) + limit**2 * _error_variance(control)
    whole = max(theirs, _LEAST_MEAN)
    ratio, half = mine / whole, half_width(error_variance, pairs(canary.total, control.total), alpha) / whole
    estimate = _drop(ratio, shape)
    low, high = sorted((_drop(ratio - half, shape), _drop(ratio + half, shape)))
    verdict = judge(low, high, max_drop)
    effect = f"canary's {metric} {'down' if estimate > 0 else 'up'} {_percent(abs(estimate))}"
    allowed = f"a drop of {_percent(max_drop)} allowed"
    match verdict:
        case Verdict.FAIL:
            words = f"{effect}, a drop of at least {_percent(low)}, {allowed}"
        case Verdict.PASS:
            words = f"{effect}, a drop of at most {_percent(high)}, {allowed}"
        case Verdict.INCONCLUSIVE:
            words = f"not yet: {effect} after {n} labels, {allowed}"
    return Finding(verdict, estimate, low, high, n, words)


def _mean(losses: Moments, shape: Shape) -> float:
    return 1 - losses.mean if shape is Shape.MORE_IS_BETTER else losses.mean


def _limit(shape: Shape, max_drop: float) -> float:
    match shape:
        case Shape.MORE_IS_BETTER:
            return 1 - max_drop
        case Shape.LESS_IS_BETTER:
            return 1 + max_drop
        case Shape.ROOT:
            return (1 + max_drop) ** 2


def _drop(ratio: float, shape: Shape) -> float:
    match shape:
        case Shape.MORE_IS_BETTER:
            return 1 - ratio
        case Shape.LESS_IS_BETTER:
            return ratio - 1
        case Shape.ROOT:
            return sqrt(max(0.0, ratio)) - 1


def _error_variance(losses: Moments) -> float:
    """Variance of a mean loss, half a loss of 0 and half one of 1 added: an arm without a loss yet is not certain."""
    n = losses.total + 1
    squares = losses.deviation + losses.total * losses.mean**2 + 0.5
    mean = (losses.total * losses.mean + 0.5) / n
    return max(0.0, squares / n - mean**2) / losses.total


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if value < 10 else "more than 1000 %"
