"""The chi-square distribution equals scipy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, ncx2

from router.drift.chi_square import noncentral_survival, survival

degrees = st.integers(1, 400)


@given(st.floats(0, 2000), degrees)
def test_survival_equals_scipys(x: float, df: int) -> None:
    """To ten digits, down to the smallest probabilities that a float holds."""
    assert survival(x, df) == pytest.approx(chi2.sf(x, df), rel=1e-9, abs=1e-14)


@given(st.floats(1e-3, 500), st.integers(1, 60), st.floats(1e-3, 300))
def test_noncentral_survival_equals_scipys(x: float, df: int, shift: float) -> None:
    """The mixture of central ones is the noncentral one."""
    assert noncentral_survival(x, df, shift) == pytest.approx(float(ncx2.sf(x, df, shift)), rel=1e-6, abs=1e-10)


def test_noncentral_survival_holds_for_large_windows() -> None:
    """A noncentrality of thousands, as ten million rows make it, neither overflows nor vanishes."""
    assert noncentral_survival(50_000, 9, 50_000) == pytest.approx(float(ncx2.sf(50_000, 9, 50_000)), rel=1e-3)
