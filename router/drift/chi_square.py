"""The chi-square distribution, central and not, on the standard library alone. Pure.

scipy has all of this, at 107 MB of memory and 1.9 s of import for each process that watches a stream; these are the
three functions that are needed. The tests hold them to scipy's.
"""

from __future__ import annotations

from math import exp, inf, lgamma, log, sqrt
from typing import Final

_TINY: Final = 1e-300
_PRECISION: Final = 1e-15
_MAX_TERMS: Final = 100_000


def survival(x: float, degrees: float) -> float:
    """Return P(X >= x) of a chi-square variable."""
    return 1.0 if x <= 0 else upper_gamma(degrees / 2, x / 2)


def noncentral_survival(x: float, degrees: float, shift: float) -> float:
    """Return P(X >= x) of a chi-square variable whose mean vector has the squared length `shift` (noncentrality).

    It is a mixture of central ones with degrees + 2 j, j being Poisson with mean shift / 2 (Johnson, Kotz,
    Balakrishnan: "Continuous Univariate Distributions" 2, 29.4). Q(a + 1, y) = Q(a, y) + y^a e^-y / Γ(a + 1) gives one
    member from the one before; every term is positive, so nothing cancels.
    """
    if x <= 0:
        return 1.0
    if shift <= _PRECISION:
        return survival(x, degrees)
    mean, y = shift / 2, x / 2
    spread = 10 * sqrt(mean) + 20
    first, last = max(0, int(mean - spread)), int(mean + spread)
    a = degrees / 2 + first
    tail, total = upper_gamma(a, y), 0.0
    for j in range(first, last + 1):
        total += exp(j * log(mean) - mean - lgamma(j + 1)) * tail
        tail += exp(a * log(y) - y - lgamma(a + 1))
        a += 1
    return min(1.0, total)


def upper_gamma(a: float, x: float) -> float:
    """Return the regularised upper incomplete gamma function Q(a, x), a > 0 and x >= 0.

    The power series left of a + 1, Lentz' continued fraction to its right (Press et al.: "Numerical Recipes", 6.2).
    """
    if x <= 0:
        return 1.0
    if x == inf:
        return 0.0
    scale = exp(a * log(x) - x - lgamma(a))
    return max(0.0, 1.0 - scale * _series(a, x)) if x < a + 1 else scale * _fraction(a, x)


def _series(a: float, x: float) -> float:
    term = total = 1 / a
    for n in range(1, _MAX_TERMS):
        term *= x / (a + n)
        total += term
        if term < total * _PRECISION:
            break
    return total


def _fraction(a: float, x: float) -> float:
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    total = d
    for n in range(1, _MAX_TERMS):
        weight = -n * (n - a)
        b += 2
        d = 1 / _away_from_zero(weight * d + b)
        c = _away_from_zero(b + weight / c)
        total *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return total


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
