"""Exact confidence sequences of probabilities, quantile shares and differences of rates. Pure.

For values in [0, 1] with conditional mean p (for events: probability p) and sum s after n of them, the mixture

    M(p) = Beta(a + s, b + n - s) / (Beta(a, b) p^s (1 - p)^(n - s))

is a nonnegative supermartingale from 1: each factor (q/p)^x ((1-q)/(1-p))^(1-x) is convex in x, so its mean is at most
the chord's, which is 1. Ville: M(p) < 1/alpha at all times together with probability 1 - alpha, whatever n (Robbins
1970; Howard, Ramdas, McAuliffe, Sekhon: "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
Statistics 49 (2021)). The values that satisfy it are the interval. Cheap: only n and s are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, inf, lgamma, log, log1p, sqrt
from typing import Final

from router.analysis.confidence_sequence import TUNED_AT, Interval, best_precision
from router.analysis.counts import Counts

_HALVINGS: Final = 44


def proportion(counts: Counts, alpha: float) -> Interval:
    """Confidence sequence of the probability of an event, by Jeffreys' mixture Beta(1/2, 1/2)."""
    n, s = counts.total, counts.events
    level = _log_mixture(counts) + log(alpha)

    def excluded(p: float) -> bool:
        return _log_likelihood(p, n, s) < level

    return Interval(
        0.0 if s == 0 else _boundary(excluded, outside=0.0, inside=s / n),
        1.0 if s == n else _boundary(excluded, outside=1.0, inside=s / n),
    )


def share_band(p: float, n: int, alpha: float, *, tuned_at: float = TUNED_AT) -> Interval:
    """Shares of `n` observations that do not contradict a mean of `p` (0 < p < 1), at all n together.

    The inverse of `proportion`, for quantiles: the share below the p-quantile has mean p. The mixture is centred at p.
    """
    strength = tuned_at / best_precision(alpha) / (p * (1 - p))
    a, b = strength * p, strength * (1 - p)
    offset = _log_beta(a, b) - log(alpha)

    def excluded(share: float) -> bool:
        s = share * n
        return _log_beta(a + s, b + n - s) - s * log(p) - (n - s) * log1p(-p) > offset

    return Interval(
        _boundary(excluded, outside=0.0, inside=p) if excluded(0.0) else 0.0,
        _boundary(excluded, outside=1.0, inside=p) if excluded(1.0) else 1.0,
    )


def difference(canary: Counts, control: Counts, alpha: float) -> Interval:
    """Confidence sequence of the canary's probability less the control's, each arm's requests arriving as they like.

    The product of both arms' mixtures is one, too: the interval holds the differences of all pairs of probabilities
    that it does not contradict, a convex region. Its extreme points have opposite slopes, known in closed form, so one
    halving over the slope finds them.
    """
    level = _log_mixture(canary) + _log_mixture(control) + log(alpha)
    return Interval(-_largest_difference(control, canary, level), _largest_difference(canary, control, level))


def _largest_difference(upper: Counts, lower: Counts, level: float) -> float:
    """Largest p - q for which the log likelihood of p in `upper` and q in `lower` is not below `level`."""

    def ends(log_slope: float) -> tuple[float, float]:
        slope = exp(log_slope)
        return _tilted(upper.events, upper.total, slope), 1 - _tilted(lower.total - lower.events, lower.total, slope)

    def excluded(log_slope: float) -> bool:
        p, q = ends(log_slope)
        return _log_likelihood(p, upper.total, upper.events) + _log_likelihood(q, lower.total, lower.events) < level

    p, q = ends(_boundary(excluded, outside=40.0, inside=-20.0))
    return max(-1.0, min(1.0, p - q))


def _tilted(s: float, n: float, slope: float) -> float:
    """Return the p at which the log likelihood of `s` events in `n` falls by `slope` (> 0)."""
    gap = n - slope  # the larger root of slope p² + gap p - s = 0, written without cancellation
    root = sqrt(gap * gap + 4 * slope * s)
    return 2 * s / (gap + root) if gap > 0 else (root - gap) / (2 * slope)


def _boundary(excluded: Callable[[float], bool], *, outside: float, inside: float) -> float:
    """Halve towards where `excluded` changes; return the outer end, so that rounding never narrows an interval."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_mixture(counts: Counts) -> float:
    return _log_beta(0.5 + counts.events, 0.5 + counts.total - counts.events) - _log_beta(0.5, 0.5)


def _log_likelihood(p: float, n: int, s: int) -> float:
    events = (s * log(p) if p > 0 else -inf) if s else 0.0
    others = ((n - s) * log1p(-p) if p < 1 else -inf) if n > s else 0.0
    return events + others


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
