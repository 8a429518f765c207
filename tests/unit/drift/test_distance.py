"""Distances between binned distributions equal scipy's, and are distances."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from router.drift.distance import jensen_shannon, population_stability_index, wasserstein, without_noise

Floats = npt.NDArray[np.float64]


def shares(counts: list[int]) -> Floats:
    return np.array(counts) / max(1, sum(counts))


counted = st.lists(st.integers(0, 1000), min_size=8, max_size=8).filter(any).map(shares)


@given(counted)
def test_a_distribution_has_no_distance_from_itself(p: Floats) -> None:
    """PSI(p, p) = JS(p, p) = W(p, p) = 0."""
    assert population_stability_index(p, p) == 0
    assert jensen_shannon(p, p) == pytest.approx(0, abs=1e-7)
    assert wasserstein(p, p, np.arange(7.0)) == 0


@given(counted, counted)
def test_distances_are_symmetric_and_never_negative(p: Floats, q: Floats) -> None:
    """Also with empty bins."""
    assert population_stability_index(p, q) == pytest.approx(population_stability_index(q, p))
    assert population_stability_index(p, q) >= 0
    assert 0 <= jensen_shannon(p, q) <= 1
    assert wasserstein(p, q, np.arange(7.0)) == pytest.approx(wasserstein(q, p, np.arange(7.0)))


@given(counted, counted)
def test_jensen_shannon_equals_scipys(p: Floats, q: Floats) -> None:
    """To base 2."""
    assert jensen_shannon(p, q) == pytest.approx(float(jensenshannon(p, q, base=2)), abs=1e-7)


def test_wasserstein_of_bins_is_about_that_of_the_values() -> None:
    """Forty bins know the area between the distribution functions to a few percent."""
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=20_000), rng.normal(0.5, 1.2, size=20_000)
    edges = np.linspace(-4, 4, 41)

    def binned(values: Floats) -> Floats:
        return np.bincount(np.searchsorted(edges, values, side="right"), minlength=42) / len(values)

    assert wasserstein(binned(one), binned(two), edges) == pytest.approx(wasserstein_distance(one, two), rel=0.05)


def test_the_noise_of_an_index_is_what_equal_samples_have_on_average() -> None:
    """(bins - 1) (1/n + 1/N), by simulation."""
    rng = np.random.default_rng(0)
    p = np.full(10, 0.1)
    drawn = [
        population_stability_index(rng.multinomial(500, p) / 500, rng.multinomial(5000, p) / 5000) for _ in range(2000)
    ]

    assert np.mean(drawn) == pytest.approx(9 * (1 / 500 + 1 / 5000), rel=0.05)
    assert without_noise(9 * (1 / 500 + 1 / 5000), 10, 500, 5000) == 0
