"""Confidence sequences: intervals that hold at all times together, so looking after every request is safe. Pure.

A confidence *interval* is right with probability 1 - alpha at one sample size fixed beforehand; whoever looks again and
again will see it be wrong. A confidence *sequence* is right at all sample sizes at once with that probability. It pays
with width: about 1.5 times the interval's where it is tuned.

Two constructions, both mixtures of likelihood ratios stopped by Ville's inequality:

`threshold`
    Asymptotic. Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: "Time-uniform central limit theory and asymptotic
    confidence sequences", Annals of Statistics 52 (2024), theorem 2.2, here in d dimensions. With a mean estimated from
    n observations and Z its error in standard deviations, for all n together

        |Z|² < (1 + 1/(n r)) (2 log(1/alpha) + d log(1 + n r))

    with probability 1 - alpha as in the limit of a first look not too early. The normal mixture's precision r makes the
    right side least at `tuned_at` observations; far below, the factor 1 + 1/(n r) is so wide that few observations can
    hardly speak, which is also what protects the approximation.
`proportion` and `share_band`
    Exact at every n. For values in [0, 1] with conditional mean p (for events: probability p) and sum s, the mixture

        M(p) = Beta(a + s, b + n - s) / (Beta(a, b) p^s (1 - p)^(n - s))

    is a nonnegative (super)martingale from 1: each factor (q/p)^x ((1-q)/(1-p))^(1-x) is convex in x, so its mean is at
    most the chord's, which is 1. Ville: M(p) < 1/alpha at all times with probability 1 - alpha (Robbins 1970; Howard,
    Ramdas, McAuliffe, Sekhon: "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics
    49 (2021)).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, lgamma, log, log1p, sqrt
from typing import Final, NamedTuple

from router.analysis.counts import Counts

#: Observations per arm at which the asymptotic sequences are narrowest for their age.
TUNED_AT: Final = 1000

_HALVINGS: Final = 60


class Interval(NamedTuple):
    """Both ends included."""

    low: float
    high: float


def threshold(n: float, alpha: float, *, dimensions: int = 1, tuned_at: float = TUNED_AT) -> float:
    """Bound of |Z|² after `n` observations, valid at all n together; infinite when there is none."""
    if n <= 0:
        return inf
    x = n * _best_precision(alpha, dimensions) / tuned_at
    return (1 + 1 / x) * (-2 * log(alpha) + dimensions * log1p(x))


def half_width(error_variance: float, n: float, alpha: float, *, tuned_at: float = TUNED_AT) -> float:
    """Half width of the asymptotic confidence sequence of an estimate whose error has this variance after `n`."""
    return inf if n <= 0 else sqrt(error_variance * threshold(n, alpha, tuned_at=tuned_at))


def proportion(counts: Counts, alpha: float) -> Interval:
    """Exact confidence sequence of the probability of an event, by Jeffreys' mixture Beta(1/2, 1/2)."""
    n, s = counts.total, counts.events
    if n == 0:
        return Interval(0.0, 1.0)
    level = _log_beta(0.5 + s, 0.5 + n - s) - _log_beta(0.5, 0.5) + log(alpha)

    def excluded(p: float) -> bool:
        return _log_likelihood(p, n, s) < level

    return Interval(
        0.0 if s == 0 else _boundary(excluded, outside=0.0, inside=s / n),
        1.0 if s == n else _boundary(excluded, outside=1.0, inside=s / n),
    )


def share_band(p: float, n: int, alpha: float, *, tuned_at: float = TUNED_AT) -> Interval:
    """Shares of `n` observations that do not contradict a mean of `p` (0 < p < 1), at all n together; exact.

    The inverse of `proportion`, for quantiles: the share below the p-quantile has mean p. The mixture is centred at p.
    """
    if n <= 0:
        return Interval(0.0, 1.0)
    strength = tuned_at / _best_precision(alpha, 1) / (p * (1 - p))
    a, b = strength * p, strength * (1 - p)
    offset = _log_beta(a, b) - log(alpha)

    def excluded(share: float) -> bool:
        s = share * n
        return _log_beta(a + s, b + n - s) - s * log(p) - (n - s) * log1p(-p) > offset

    return Interval(
        _boundary(excluded, outside=0.0, inside=p) if excluded(0.0) else 0.0,
        _boundary(excluded, outside=1.0, inside=p) if excluded(1.0) else 1.0,
    )


def _best_precision(alpha: float, dimensions: int) -> float:
    """Solve x = 2 log(1/alpha)/d + log(1 + x), the least point of `threshold` as a function of x = n r."""
    constant = -2 * log(alpha) / dimensions
    x = constant + 1
    for _ in range(20):  # a contraction: the derivative of the right side is 1 / (1 + x) < 1
        x = constant + log1p(x)
    return x


def _boundary(excluded: Callable[[float], bool], *, outside: float, inside: float) -> float:
    """Halve towards where `excluded` changes; return the outer end, so that rounding never narrows an interval."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_likelihood(p: float, n: int, s: int) -> float:
    events = s * log(p) if s and p > 0 else (-inf if s else 0.0)
    others = (n - s) * log1p(-p) if n > s and p < 1 else (-inf if n > s else 0.0)
    return events + others


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
