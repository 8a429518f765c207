"""Tests of binned samples keep their level, equal scipy's, and are corrected for their number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, false_discovery_control, ks_2samp, kstwobign

from router.drift.distance import population_stability_index
from router.drift.significance import (
    benjamini_hochberg,
    compare,
    kolmogorov_smirnov,
    kolmogorov_survival,
)


@given(st.lists(st.tuples(st.integers(20, 500), st.integers(20, 500)), min_size=2, max_size=12))
def test_the_comparison_is_pearsons_test_of_two_samples(bins: list[tuple[int, int]]) -> None:
    """With enough in each bin it equals scipy's."""
    mine, theirs = np.array(bins, dtype=float).T
    expected = theirs / theirs.sum() * mine.sum()
    if expected.min() < 5:
        return
    found = compare(mine, theirs / theirs.sum(), theirs.sum())
    statistic, p_value, degrees, _ = chi2_contingency([mine, theirs], correction=False)

    assert found.degrees == degrees
    assert found.statistic == pytest.approx(statistic, abs=1e-9)
    assert found.p_value() == pytest.approx(p_value, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("rows", [200, 1000])
def test_equal_samples_are_told_apart_as_often_as_the_level_says(rows: int) -> None:
    """The p-value is about uniform, sparse bins included."""
    rng = np.random.default_rng(rows)
    p = np.array([0.3, 0.2, 0.15, 0.1, 0.1, 0.08, 0.04, 0.02, 0.008, 0.002])
    values = [
        compare(rng.multinomial(rows, p).astype(float), rng.multinomial(10_000, p) / 10_000, 10_000).p_value()
        for _ in range(2000)
    ]

    for level in (0.05, 0.01):
        assert np.mean(np.array(values) <= level) == pytest.approx(level, abs=0.6 * level)


def test_a_negligible_difference_is_no_evidence_however_many_rows_show_it() -> None:
    """With millions of rows equality is refuted, being above the negligible index is not."""
    p, q = np.full(10, 0.1), np.full(10, 0.1) + np.tile([0.002, -0.002], 5)
    found = compare(q * 1e7, p, 1e7)

    assert found.p_value() < 1e-100
    assert found.p_value(negligible=0.005) > 0.99


def test_without_rows_nothing_is_significant() -> None:
    """Empty windows and empty references compare to nothing."""
    assert compare(np.zeros(4), np.full(4, 0.25), 100).p_value() == 1
    assert compare(np.ones(4), np.zeros(4), 0).p_value() == 1


@pytest.mark.parametrize(("rows", "fires"), [(100, 0.37), (1000, 0.0)])
def test_a_fixed_threshold_of_the_index_says_little(rows: int, fires: float) -> None:
    """The customary 0.1 is exceeded in 37 % of clean windows of 100 rows, and in none of 1000."""
    shares = np.full(10, 0.1)
    windows = np.random.default_rng(1).multinomial(rows, shares, size=2000) / rows
    exceeded = [population_stability_index(window, shares) > 0.1 for window in windows]

    assert np.mean(exceeded) == pytest.approx(fires, abs=0.03)


def test_the_gap_of_the_bins_is_a_safe_kolmogorov_smirnov_test() -> None:
    """Never more significant than scipy's on the values, and near it with many bins."""
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=2000), rng.normal(0.1, size=2000)
    edges = np.linspace(-3, 3, 61)

    def binned(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.bincount(np.searchsorted(edges, values), minlength=62) / len(values)

    gap, p_value = kolmogorov_smirnov(binned(one), binned(two), 2000, 2000)
    exact = ks_2samp(one, two)
    assert 0.9 * exact.statistic <= gap <= exact.statistic + 1e-12
    assert p_value >= exact.pvalue * 0.9


@given(st.floats(0.05, 5))
def test_kolmogorovs_distribution_equals_scipys(x: float) -> None:
    """The limit distribution."""
    assert kolmogorov_survival(x) == pytest.approx(float(kstwobign.sf(x)), abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_benjamini_hochberg_equals_scipys(p_values: list[float]) -> None:
    """And is never stricter than Bonferroni."""
    values = np.array(p_values)
    adjusted = benjamini_hochberg(values)

    assert adjusted == pytest.approx(false_discovery_control(values))
    assert np.all(adjusted <= np.minimum(1.0, values * len(values)) + 1e-12)
