"""Compares a quantile of two arms' durations from their histograms; safe to ask after every request. Pure."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import inf, isinf

from router.analysis.beta_mixture import share_band
from router.analysis.confidence_sequence import Interval
from router.analysis.counts import Histogram
from router.analysis.verdict import Finding, Verdict, judge


def compare_latency(
    canary: Histogram, control: Histogram, *, quantile: float, max_ratio: float, alpha: float, arm: str = "canary"
) -> Finding:
    """Is the canary's quantile (0.99: the p99) more than `max_ratio` times the control's?

    The confidence sequence of a quantile needs no model of the durations: the share of observations below the true
    q-quantile has mean q, so the quantiles of all shares that do not contradict q hold it (Howard, Ramdas: "Sequential
    estimation of quantiles with applications to A/B testing and best-arm identification", Bernoulli 28 (2022)). Each
    arm has half of `alpha`. Exact for the quantile read off a histogram, durations being spread evenly inside a bucket;
    both arms share that reading, so arms that are alike compare as alike however coarse the buckets are.

    Raises:
        ValueError: the arms have other bounds.
    """
    if canary.bounds != control.bounds:
        raise ValueError("histograms of different bounds cannot be compared")
    n = canary.total + control.total
    if not canary.total or not control.total:
        return Finding(Verdict.INCONCLUSIVE, 1.0, 0.0, inf, n, "not yet: an arm has had no request")
    mine, theirs = quantile_of(canary, quantile), quantile_of(control, quantile)
    my_band = quantile_band(canary, quantile, alpha / 2)
    their_band = quantile_band(control, quantile, alpha / 2)
    estimate = _ratio(mine, theirs)
    low, high = _ratio(my_band.low, their_band.high), _ratio(my_band.high, their_band.low)
    verdict = judge(low, high, max_ratio)
    effect = f"p{100 * quantile:g} {_milliseconds(mine)} against {_milliseconds(theirs)}"
    allowed = f"{max_ratio:g} times allowed"
    match verdict:
        case Verdict.FAIL:
            words = f"{arm} slower: {effect}, at least {low:.2f} times, {allowed}"
        case Verdict.PASS:
            words = f"{arm} not slower: {effect}, at most {high:.2f} times, {allowed}"
        case Verdict.INCONCLUSIVE:
            words = f"not yet: {effect} after {n} requests, {allowed}"
    return Finding(verdict, estimate, low, high, n, words)


def quantile_of(histogram: Histogram, quantile: float) -> float:
    """Read a quantile off the histogram, straight inside a bucket; infinite above the last bound."""
    cumulated = list(accumulate(histogram.counts))
    wanted = quantile * cumulated[-1]
    bucket = bisect_left(cumulated, wanted)
    if bucket >= len(histogram.bounds):
        return inf
    below = cumulated[bucket - 1] if bucket else 0
    floor = histogram.bounds[bucket - 1] if bucket else 0.0
    inside = histogram.counts[bucket]
    return floor + (histogram.bounds[bucket] - floor) * ((wanted - below) / inside if inside else 1.0)


def quantile_band(histogram: Histogram, quantile: float, alpha: float) -> Interval:
    """Confidence sequence of the quantile."""
    shares = share_band(quantile, histogram.total, alpha)
    return Interval(
        quantile_of(histogram, shares.low) if shares.low > 0 else 0.0,
        quantile_of(histogram, shares.high) if shares.high < 1 else inf,
    )


def _ratio(numerator: float, denominator: float) -> float:
    if isinf(denominator):
        return 1.0 if isinf(numerator) else 0.0
    return numerator / denominator if denominator > 0 else inf


def _milliseconds(seconds: float) -> str:
    return "beyond the last bucket" if isinf(seconds) else f"{1000 * seconds:.3g} ms"
