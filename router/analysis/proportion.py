"""Compares the error rates of two arms; safe to ask after every request. Pure."""

from __future__ import annotations

from typing import Final

from router.analysis.beta_mixture import difference
from router.analysis.confidence_sequence import Interval, half_width, pairs
from router.analysis.counts import Counts
from router.analysis.verdict import Finding, Verdict, judge

#: Part of alpha spent on the exact sequence. It decides while errors are few (a dead canary within 20 requests); the
#: asymptotic one, with the rest, needs half as many requests for small differences.
_EXACT_PART: Final = 0.2


def compare_error_rates(canary: Counts, control: Counts, *, margin: float, alpha: float) -> Finding:
    """Is the canary's error rate higher than the control's by more than `margin` (0.01 = one percentage point)?

    The probability of a FAIL, ever and however often asked, is at most `alpha` when the canary is not worse by more
    than `margin`; the same of a PASS when it is. Assumed: an arm's requests fail independently with one rate, and the
    arms' shares of the traffic stay about the same while counts are collected (start afresh at each rollout step).
    """
    n = canary.total + control.total
    if not canary.total or not control.total:
        return Finding(Verdict.INCONCLUSIVE, 0.0, -1.0, 1.0, n, "not yet: an arm has had no request")
    estimate = canary.rate - control.rate
    low, high = rate_difference(canary, control, alpha)
    verdict = judge(low, high, margin)
    direction = "worse" if estimate > 0 else "better"
    effect = f"canary {direction} by {points(abs(estimate))}"
    match verdict:
        case Verdict.FAIL:
            words = f"{effect} ± {points(estimate - low)} points, more than the {points(margin)} allowed"
        case Verdict.PASS:
            words = f"{effect} ± {points(high - estimate)} points, within the {points(margin)} allowed"
        case Verdict.INCONCLUSIVE:
            spread = points(max(estimate - low, high - estimate))
            words = f"not yet: {effect} ± {spread} points after {n} requests, {points(margin)} allowed"
    return Finding(verdict, estimate, low, high, n, words)


def rate_difference(canary: Counts, control: Counts, alpha: float) -> Interval:
    """Confidence sequence of the difference of two rates: what an exact and an asymptotic one have in common.

    In the asymptotic one, half an event and half a non-event are added to each rate's variance, so that an arm without
    an error yet does not look certain. Neither arm may be empty.
    """
    exact = difference(canary, control, alpha * _EXACT_PART)
    error_variance = _error_variance(canary) + _error_variance(control)
    half = half_width(error_variance, pairs(canary.total, control.total), alpha * (1 - _EXACT_PART))
    estimate = canary.rate - control.rate
    low, high = max(exact.low, estimate - half), min(exact.high, estimate + half)
    return Interval(low, high) if low <= high else exact


def points(value: float) -> str:
    """Show a difference of rates in percentage points."""
    return f"{100 * value:.1f}" if abs(value) >= 0.001 or value == 0 else f"{100 * value:.2f}"


def _error_variance(counts: Counts) -> float:
    rate = (counts.events + 0.5) / (counts.total + 1)
    return rate * (1 - rate) / counts.total
