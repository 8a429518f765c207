"""Compares the error rates of two arms; safe to ask after every request. Pure."""

from __future__ import annotations

from router.analysis.confidence_sequence import TUNED_AT, half_width
from router.analysis.counts import Counts
from router.analysis.verdict import Finding, Verdict, judge


def compare_error_rates(
    canary: Counts, control: Counts, *, margin: float, alpha: float, tuned_at: float = TUNED_AT
) -> Finding:
    """Is the canary's error rate higher than the control's by more than `margin` (0.01 = one percentage point)?

    An asymptotic confidence sequence of the difference of two rates: see `confidence_sequence.threshold`. Each rate's
    variance is taken with half an event and half a non-event added, so that an arm without an error yet does not look
    certain. Assumed: requests of an arm fail independently, and the arms' shares of the traffic stay about the same
    while the counts are collected (start afresh at each step of a rollout).

    Tuned at 1000 requests per arm it finds a regression of 5 points; to see errors of every fifth request within the
    first 50 requests, tune it at 50.

    FAIL with probability at most `alpha` ever, however often asked, if the canary is not worse by more than `margin`.
    """
    n = canary.total + control.total
    if not canary.total or not control.total:
        return Finding(Verdict.INCONCLUSIVE, 0.0, -1.0, 1.0, n, "not yet: an arm has had no request")
    estimate = canary.rate - control.rate
    pairs = 2 / (1 / canary.total + 1 / control.total)
    half = half_width(error_variance(canary) + error_variance(control), pairs, alpha, tuned_at=tuned_at)
    low, high = max(-1.0, estimate - half), min(1.0, estimate + half)
    verdict = judge(low, high, margin)
    return Finding(verdict, estimate, low, high, n, _words(verdict, estimate, half, margin, n))


def error_variance(counts: Counts) -> float:
    """Variance of an observed rate around the true one; `counts` must not be empty."""
    rate = (counts.events + 0.5) / (counts.total + 1)
    return rate * (1 - rate) / counts.total


def points(value: float) -> str:
    """Show a difference of rates in percentage points."""
    return f"{100 * value:.{1 if abs(value) >= 0.001 else 2}f}"


def _words(verdict: Verdict, estimate: float, half: float, margin: float, n: int) -> str:
    effect = f"{points(abs(estimate))} ± {points(half)} points"
    direction = "worse" if estimate > 0 else "better"
    match verdict:
        case Verdict.FAIL:
            return f"canary worse by {effect}: more than the {points(margin)} allowed"
        case Verdict.PASS:
            return f"canary {direction} by {effect}: within the {points(margin)} allowed"
        case Verdict.INCONCLUSIVE:
            return f"not yet: canary {direction} by {effect} after {n} requests, {points(margin)} allowed"
