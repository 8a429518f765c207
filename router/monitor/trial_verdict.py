"""Judges a trial: whether two arms predict alike, and whether one does worse by labels. Pure."""

from __future__ import annotations

from router.analysis.counts import NOTHING
from router.analysis.distribution import compare_distributions
from router.analysis.metric_drop import Shape, compare_metric
from router.analysis.verdict import Finding, Verdict
from router.monitor.trial import TrialState, predictions_of
from router.performance.baseline import Metric


def judge_predictions(state: TrialState, *, max_shift: float, alpha: float) -> Finding:
    """Compare the distributions of the arms' predictions, output by output; the worst one speaks for all.

    Args:
        state: of the trial.
        max_shift: accepted, see `compare_distributions`.
        alpha: risk, shared by the outputs that are compared.
    """
    if not state.columns:
        return _unknown(f"not yet: version {state.trial.control.version} has no outputs that could be compared")
    findings = {
        column.name: compare_distributions(
            *predictions_of(state, column), max_shift=max_shift, alpha=alpha / len(state.columns)
        )
        for column in state.columns
    }
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    name, worst = min(findings.items(), key=lambda item: (order.index(item[1].verdict), -item[1].estimate))
    words = f"output {name}: {worst.words}"
    return Finding(worst.verdict, worst.estimate, worst.low, worst.high, worst.n, words)


def judge_metric(state: TrialState, metric: Metric, *, max_drop: float, alpha: float) -> Finding:
    """Compare a metric on the labels of both arms.

    Args:
        state: of the trial.
        metric: which.
        max_drop: accepted, as a part of the control arm's metric.
        alpha: risk.
    """
    if metric not in state.scales:
        profile = f"the reference profile of version {state.trial.control.version}"
        return _unknown(f"not yet: {profile} has no baseline of {metric}; `shepherd model profile` makes one")
    canary, control = (side.losses.get(metric, NOTHING) for side in (state.canary, state.control))
    return compare_metric(canary, control, shape=_shape(metric), metric=metric.value, max_drop=max_drop, alpha=alpha)


def _shape(metric: Metric) -> Shape:
    if metric.more_is_better:
        return Shape.MORE_IS_BETTER
    return Shape.ROOT if metric is Metric.RMSE else Shape.LESS_IS_BETTER


def _unknown(words: str) -> Finding:
    return Finding(Verdict.INCONCLUSIVE, 0.0, 0.0, 0.0, 0, words)
