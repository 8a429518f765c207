"""Whether a distance between two binned samples could be chance; corrections for asking many times. Pure."""

from __future__ import annotations

from math import exp, sqrt
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from router.drift.chi_square import noncentral_survival

Floats = npt.NDArray[np.float64]

#: A bin that expects fewer rows than this in the window is pooled with the others like it (Cochran, 1954).
LEAST_EXPECTED: Final = 5.0


class Comparison(NamedTuple):
    """A window's bins beside the reference's, as the test sees them."""

    statistic: float
    """Pearson's chi-square of two samples."""
    degrees: int
    """0 when nothing can be compared: then every p is 1."""
    pairs: float
    """1 / (1/n + 1/N): the statistic is about `pairs` times the population stability index."""

    def p_value(self, negligible: float = 0.0) -> float:
        """Return how probable a statistic this large is if the true index is at most `negligible`.

        With 0 it is the ordinary test of equality. With more, the null is the noncentral chi-square with
        noncentrality `pairs * negligible`: a difference too small to matter is then no drift, however many rows
        there are to prove it, and a reference that is itself only a sample is not held against the window.
        """
        if self.degrees == 0:
            return 1.0
        return noncentral_survival(self.statistic, self.degrees, self.pairs * negligible)


def compare(current: Floats, reference: Floats, reference_rows: float) -> Comparison:
    """Compare the counts of a window with the shares of a reference of `reference_rows` rows.

    Assumed: independent rows. Sparse bins are pooled, so that the chi-square approximation holds.
    """
    rows = float(current.sum())
    if rows == 0 or reference_rows <= 0:
        return Comparison(0.0, 0, 0.0)
    counts, shares = _pooled(current, reference, rows)
    both = (counts + shares * reference_rows) / (rows + reference_rows)
    seen = both > 0
    pairs = 1 / (1 / rows + 1 / reference_rows)
    distance = float(np.sum((counts[seen] / rows - shares[seen]) ** 2 / both[seen]))
    return Comparison(pairs * distance, max(0, int(seen.sum()) - 1), pairs)


def kolmogorov_smirnov(current: Floats, reference: Floats, rows: float, reference_rows: float) -> tuple[float, float]:
    """Return the greatest gap between the distribution functions at the bins' edges, and its p-value.

    The gap at the edges is at most the gap anywhere, so the asymptotic p-value is on the safe side.
    """
    gap = float(np.max(np.abs(np.cumsum(current - reference))))
    return gap, kolmogorov_survival(gap * sqrt(1 / (1 / rows + 1 / reference_rows)))


def kolmogorov_survival(x: float) -> float:
    """Return P(K >= x) of Kolmogorov's distribution: 2 sum of (-1)^(k-1) exp(-2 k² x²)."""
    if x < 0.2:  # where the series needs many terms, the probability is 1 to twelve digits
        return 1.0
    return min(1.0, 2 * sum((1 if k % 2 else -1) * exp(-2 * (k * x) ** 2) for k in range(1, 40)))


def benjamini_hochberg(p_values: Floats) -> Floats:
    """Adjust p-values so that a threshold of alpha keeps the expected share of false reports below alpha.

    Assumed: independent, or positively dependent (Benjamini, Yekutieli, 2001).
    """
    n = len(p_values)
    order = np.argsort(p_values)[::-1]
    adjusted = np.empty(n)
    adjusted[order] = np.minimum.accumulate(p_values[order] * n / np.arange(n, 0, -1))
    return np.minimum(1.0, adjusted)


def _pooled(counts: Floats, shares: Floats, rows: float) -> tuple[Floats, Floats]:
    """Pool the bins that expect too few; if all of them together still do, the smallest other bin takes them."""
    sparse = shares * rows < LEAST_EXPECTED
    if not sparse.any() or sparse.all():
        return counts, shares
    rest_counts, rest_shares = counts[~sparse], shares[~sparse]
    pool_count, pool_share = counts[sparse].sum(), shares[sparse].sum()
    if pool_share * rows < LEAST_EXPECTED:
        smallest = int(np.argmin(rest_shares))
        rest_counts, rest_shares = rest_counts.copy(), rest_shares.copy()
        rest_counts[smallest] += pool_count
        rest_shares[smallest] += pool_share
        return rest_counts, rest_shares
    return np.append(rest_counts, pool_count), np.append(rest_shares, pool_share)
