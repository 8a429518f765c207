"""Compares how the predictions of two arms are spread over bins; safe to ask after every request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final

from router.analysis.confidence_sequence import pairs, threshold
from router.analysis.verdict import Finding, Verdict, judge

#: A bin that expects fewer observations per arm than this is joined with the next: the approximation needs a few.
_LEAST_EXPECTED: Final = 5.0


def compare_distributions(
    canary: Sequence[int], control: Sequence[int], *, max_shift: float = 0.1, alpha: float
) -> Finding:
    """Are the canary's predictions spread otherwise than the control's by more than `max_shift`?

    The effect is the chi-square distance per pair of observations, w² = sum of (p - q)²/mean(p, q) over the bins: close
    to the population stability index (PSI) while it is small, so the customary limit of 0.1 applies; it is at most 4.
    w is the length of the vector of standardised differences, so the confidence sequence in bins - 1 dimensions bounds
    it: significance alone never fails a canary, nor does an effect that could be chance. Assumed: independent
    predictions; shares of the arms about constant.

    Raises:
        ValueError: the arms have other numbers of bins.
    """
    if len(canary) != len(control):
        raise ValueError(f"{len(canary)} bins against {len(control)}")
    mine, theirs = sum(canary), sum(control)
    n = mine + theirs
    if not mine or not theirs:
        return Finding(Verdict.INCONCLUSIVE, 0.0, 0.0, 4.0, n, "not yet: an arm has had no prediction")
    bins = _joined(canary, control)
    shift = distance([(one / mine, two / theirs) for one, two in bins])
    # While p and q are the same, w² * pairs/2 is the chi-square statistic of two samples, with bins - 1 degrees.
    radius = sqrt(threshold(pairs(mine, theirs), alpha, dimensions=max(1, len(bins) - 1)) * 2 / pairs(mine, theirs))
    low, high = max(0.0, sqrt(shift) - radius) ** 2, min(2.0, sqrt(shift) + radius) ** 2
    verdict = judge(low, high, max_shift)
    allowed = f"{max_shift:g} allowed"
    match verdict:
        case Verdict.FAIL:
            words = f"canary predicts otherwise: shift {shift:.3f}, at least {low:.3f}, {allowed}"
        case Verdict.PASS:
            words = f"canary predicts alike: shift {shift:.3f}, at most {high:.3f}, {allowed}"
        case Verdict.INCONCLUSIVE:
            words = f"not yet: shift {shift:.3f} after {n} predictions, {allowed}"
    return Finding(verdict, shift, low, high, n, words)


def distance(shares: Sequence[tuple[float, float]]) -> float:
    """Sum over the bins of (p - q)² over the mean of p and q: 0 when alike, 4 when no bin is shared."""
    return sum((one - two) ** 2 / ((one + two) / 2) for one, two in shares if one + two)


def _joined(canary: Sequence[int], control: Sequence[int]) -> list[tuple[int, int]]:
    """Join neighbours until each bin expects enough in the smaller arm; empty bins vanish."""
    mine, theirs = sum(canary), sum(control)
    needed = _LEAST_EXPECTED * (mine + theirs) / min(mine, theirs)
    bins: list[tuple[int, int]] = []
    one = two = 0
    for more, others in zip(canary, control, strict=True):
        one, two = one + more, two + others
        if one + two >= needed:
            bins.append((one, two))
            one = two = 0
    if one + two:
        last = bins.pop() if bins else (0, 0)
        bins.append((last[0] + one, last[1] + two))
    return bins
