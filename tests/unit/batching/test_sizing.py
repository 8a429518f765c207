"""The row limit follows the latency objective; batching that does not pay is found out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.batching.sizing import FREE_WITHIN, batching_pays, next_limit, next_row_s


def test_a_run_over_the_objective_halves_the_limit() -> None:
    """Multiplicative decrease, never below one row."""
    assert next_limit(64, rows=64, run_s=0.2, row_s=0.01, objective_s=0.1, ceiling=128) == 32
    assert next_limit(1, rows=1, run_s=0.2, row_s=0.01, objective_s=0.1, ceiling=128) == 1


def test_a_full_run_well_inside_the_objective_raises_the_limit() -> None:
    """Additive increase by an eighth, up to the ceiling."""
    assert next_limit(32, rows=32, run_s=0.01, row_s=0.001, objective_s=0.1, ceiling=128) == 36
    assert next_limit(127, rows=127, run_s=0.01, row_s=0.001, objective_s=0.1, ceiling=128) == 128


def test_a_run_that_was_not_full_says_nothing_about_a_larger_one() -> None:
    """Idle traffic leaves the limit where it is."""
    assert next_limit(32, rows=3, run_s=0.001, row_s=0.001, objective_s=0.1, ceiling=128) == 32


SECONDS = st.floats(0, 1)


@given(st.integers(1, 512), st.integers(1, 512), SECONDS, SECONDS, SECONDS, st.integers(1, 512))
def test_the_limit_stays_between_one_and_the_ceiling(  # noqa: PLR0917 - drawn
    limit: int, rows: int, run_s: float, row_s: float, objective_s: float, ceiling: int
) -> None:
    """Whatever is observed, a limit within bounds stays within bounds."""
    within = min(limit, ceiling)
    found = next_limit(within, rows=rows, run_s=run_s, row_s=row_s, objective_s=objective_s, ceiling=ceiling)
    assert 1 <= found <= ceiling


@given(
    row_s=st.floats(0.001, 10),
    objective_s=SECONDS,
    stretched=st.lists(st.floats(1, FREE_WITHIN), min_size=64, max_size=64),
    limit=st.integers(1, 64),
)
def test_batching_that_is_free_is_kept_and_found_again_whatever_a_run_takes(
    row_s: float, objective_s: float, stretched: list[float], limit: int
) -> None:
    """A GPU that takes 80 ms for 1 row and for 64 answers nobody sooner with smaller batches, only fewer."""
    for stretch in stretched:
        limit = next_limit(limit, rows=limit, run_s=row_s * stretch, row_s=row_s, objective_s=objective_s, ceiling=64)

    assert limit == 64


@given(call_s=st.floats(0, 0.05), row_s=st.floats(0.0001, 0.02), objective_s=st.floats(0.1, 1))
def test_batches_that_cost_by_the_row_are_soon_within_an_objective_that_one_row_meets(
    call_s: float, row_s: float, objective_s: float
) -> None:
    """From the largest limit downwards; one run in passing may try more."""
    one_s, limit, runs = call_s + row_s, 4096, []
    for _ in range(100):
        runs.append(call_s + row_s * limit)
        limit = next_limit(limit, rows=limit, run_s=runs[-1], row_s=one_s, objective_s=objective_s, ceiling=4096)

    assert max(runs[20:]) <= max(objective_s, 2 * FREE_WITHIN * one_s)


ROW_S = st.floats(1e-4, 0.1)


@given(row_s=ROW_S, run_s=st.floats(0, 1e6))
def test_one_slow_run_of_one_row_hardly_moves_what_a_row_is_taken_to_cost(row_s: float, run_s: float) -> None:
    """Batches that were not free before are not free now: the first run after a pause may take seconds."""
    assert next_row_s(row_s, rows=1, run_s=run_s) < 1.25 * row_s


@given(row_s=ROW_S, factor=st.floats(1, 100), stretch=st.floats(1, 1.1))
def test_an_estimate_that_is_too_high_is_right_again_within_a_few_runs(
    row_s: float, factor: float, stretch: float
) -> None:
    """A run can be held up and never hurried: a quick one is believed sooner."""
    estimate = row_s * factor
    for _ in range(8):
        estimate = next_row_s(estimate, rows=1, run_s=row_s * stretch)

    assert estimate <= FREE_WITHIN * row_s


def test_the_first_run_is_all_that_is_known() -> None:
    """Where warming up had no example to time."""
    assert next_row_s(0.0, rows=1, run_s=0.5) == 0.5


@given(row_s=ROW_S, factor=st.floats(1, 10))
def test_a_machine_that_has_become_slower_is_believed_in_time(row_s: float, factor: float) -> None:
    """Runs that stay slow are no outliers."""
    estimate = row_s
    for _ in range(40):
        estimate = next_row_s(estimate, rows=1, run_s=row_s * factor)

    assert estimate >= 0.9 * row_s * factor


@given(row_s=ROW_S, rows=st.integers(2, 512), run_s=st.floats(0.1, 10))
def test_a_run_of_many_rows_says_nothing_about_one(row_s: float, rows: int, run_s: float) -> None:
    """Nobody knows what each has cost it."""
    assert next_row_s(row_s, rows=rows, run_s=run_s) == row_s


def test_batching_pays_when_eight_rows_cost_clearly_less_than_eight_runs() -> None:
    """Stacking must save at least a fifth."""
    assert batching_pays({1: 1.0, 8: 2.0})
    assert not batching_pays({1: 1.0, 8: 7.5})
    assert not batching_pays({1: 1.0})
