"""The row limit follows the latency objective; batching that does not pay is found out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.batching.sizing import batching_pays, next_limit


def test_a_run_over_the_objective_halves_the_limit() -> None:
    """Multiplicative decrease, never below one row."""
    assert next_limit(64, rows=64, run_s=0.2, objective_s=0.1, ceiling=128) == 32
    assert next_limit(1, rows=1, run_s=0.2, objective_s=0.1, ceiling=128) == 1


def test_a_full_run_well_inside_the_objective_raises_the_limit() -> None:
    """Additive increase by an eighth, up to the ceiling."""
    assert next_limit(32, rows=32, run_s=0.01, objective_s=0.1, ceiling=128) == 36
    assert next_limit(127, rows=127, run_s=0.01, objective_s=0.1, ceiling=128) == 128


def test_a_run_that_was_not_full_says_nothing_about_a_larger_one() -> None:
    """Idle traffic leaves the limit where it is."""
    assert next_limit(32, rows=3, run_s=0.001, objective_s=0.1, ceiling=128) == 32


@given(st.integers(1, 512), st.integers(1, 512), st.floats(0, 1), st.integers(1, 512))
def test_the_limit_stays_between_one_and_the_ceiling(limit: int, rows: int, run_s: float, ceiling: int) -> None:
    """Whatever is observed, a limit within bounds stays within bounds."""
    assert 1 <= next_limit(min(limit, ceiling), rows=rows, run_s=run_s, objective_s=0.1, ceiling=ceiling) <= ceiling


def test_batching_pays_when_eight_rows_cost_clearly_less_than_eight_runs() -> None:
    """Stacking must save at least a fifth."""
    assert batching_pays({1: 1.0, 8: 2.0})
    assert not batching_pays({1: 1.0, 8: 7.5})
    assert not batching_pays({1: 1.0})
