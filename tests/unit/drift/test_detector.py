"""Evidence over time keeps its promise: an e-value has mean 1, a sum of them a stated run length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drift.detector import alarm_level, largest_e, p_to_e, shiryaev_roberts


@given(st.floats(0.05, 0.95))
def test_the_mean_e_value_of_a_uniform_p_value_is_one(kappa: float) -> None:
    """Integrated over (0, 1) by the substitution p = u^(1/kappa), which makes the integrand flat."""
    u = (np.arange(2000) + 0.5) / 2000
    density = np.array([p_to_e(p, kappa) * p / (kappa * v) for v, p in zip(u, u ** (1 / kappa), strict=True) if p > 0])

    assert density.mean() == pytest.approx(1, rel=1e-6)


def test_the_mean_time_between_false_alarms_is_at_least_the_level() -> None:
    """E-SR on uniform p-values: 400 streams, cut off at five times the level, so that the mean is underestimated."""
    rng = np.random.default_rng(0)
    level, times = 50.0, []
    for _ in range(400):
        evidence, time = 0.0, 0
        while evidence < level and time < 5 * level:
            evidence, time = shiryaev_roberts(evidence, p_to_e(rng.random())), time + 1
        times.append(time)

    assert np.mean(times) >= level


@given(st.lists(st.floats(0, 50), max_size=30))
def test_shiryaev_roberts_is_never_behind_cusum(e_values: list[float]) -> None:
    """It adds up the products over all moments of change, of which CUSUM takes the greatest."""
    sr = cs = 0.0
    for e in e_values:
        sr, cs = shiryaev_roberts(sr, e), max(cs, 1.0) * e
        assert sr >= cs * (1 - 1e-12)


def test_many_streams_share_the_stated_time() -> None:
    """e-Bonferroni: 30 streams, 30 times the level each."""
    assert alarm_level(1000, 30) == 30_000


@given(st.floats(10, 1e6), st.integers(1, 5))
def test_fewer_windows_than_asked_for_cannot_alarm(level: float, windows: int) -> None:
    """From no evidence, `windows - 1` of the largest e-values stay below the level."""
    evidence = 0.0
    for _ in range(windows - 1):
        evidence = shiryaev_roberts(evidence, largest_e(level * 4**windows, windows))

    assert evidence < level * 4**windows
