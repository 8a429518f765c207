"""Confidence sequences: intervals that hold at all times together, so looking after every request is safe. Pure.

A confidence *interval* is right with probability 1 - alpha at one sample size fixed beforehand; whoever looks again and
again will see it be wrong. A confidence *sequence* is right at all sample sizes at once with that probability. It pays
with width: about 1.5 times the interval's where it is tuned.

Here the asymptotic ones, for means of anything with a variance; `beta_mixture` has exact ones, for events. Source:
Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: "Time-uniform central limit theory and asymptotic confidence sequences",
Annals of Statistics 52 (2024), theorem 2.2, here in d dimensions. With Z the error of an estimate from n observations,
in standard deviations, for all n together

    |Z|² < (1 + 1/(n r)) (2 log(1/alpha) + d log(1 + n r))

with probability 1 - alpha in the limit of a late first look: Ville's inequality for the mixture of Gaussian likelihood
ratios over N(0, r I). The precision r makes the right side least at `tuned_at` observations; far below, the factor
1 + 1/(n r) is so wide that few observations can hardly speak, which is also what protects the approximation
(docs/results/sequential-tests.md measures it).
"""

from __future__ import annotations

from math import inf, log, log1p, sqrt
from typing import Final, NamedTuple

#: Observations per arm at which the sequences are narrowest for their age.
TUNED_AT: Final = 1000.0


class Interval(NamedTuple):
    """Both ends included."""

    low: float
    high: float


def threshold(n: float, alpha: float, *, dimensions: int = 1, tuned_at: float = TUNED_AT) -> float:
    """Bound of |Z|² after `n` observations, valid at all n together; infinite when there is none."""
    if n <= 0:
        return inf
    x = n * best_precision(alpha, dimensions) / tuned_at
    return (1 + 1 / x) * (-2 * log(alpha) + dimensions * log1p(x))


def half_width(error_variance: float, n: float, alpha: float, *, tuned_at: float = TUNED_AT) -> float:
    """Half width of the confidence sequence of an estimate whose error has this variance after `n` observations."""
    return inf if n <= 0 else sqrt(error_variance * threshold(n, alpha, tuned_at=tuned_at))


def best_precision(alpha: float, dimensions: int = 1) -> float:
    """Solve x = 2 log(1/alpha)/d + log(1 + x): where `threshold` is least as a function of x = n r."""
    constant = -2 * log(alpha) / dimensions
    x = constant + 1
    for _ in range(20):  # a contraction: the derivative of the right side is 1 / (1 + x) < 1
        x = constant + log1p(x)
    return x


def pairs(canary: int, control: int) -> float:
    """Observations per arm of the equal split that would know a difference as well; 0 if an arm has none."""
    return 2 * canary * control / (canary + control) if canary and control else 0.0
