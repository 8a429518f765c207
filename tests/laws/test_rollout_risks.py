"""The risks of a rollout's judgement, on fewer runs than docs/results/rollouts.md reports."""

from __future__ import annotations

import pytest

from router.rollout.phase import Phase
from tests.simulate_rollouts import simulate

RUNS = 60


@pytest.mark.parametrize("errors", [0.0, 0.01])
def test_a_version_as_good_as_the_old_one_is_promoted(errors: float) -> None:
    """Peeking every second rolls back fewer than one in twenty."""
    phases = simulate(RUNS, old_errors=errors, new_errors=errors).phases
    assert phases[Phase.FAILED] < 0.05 * RUNS
    assert phases[Phase.SUCCEEDED] > 0.95 * RUNS


def test_five_points_more_errors_are_caught() -> None:
    """In more than nineteen of twenty."""
    phases = simulate(RUNS, old_errors=0.01, new_errors=0.06).phases
    assert phases[Phase.FAILED] > 0.95 * RUNS


def test_one_failure_in_five_is_caught_within_seconds() -> None:
    """At 5 requests/s on the canary's side; the clock starts with its traffic."""
    summary = simulate(RUNS, old_errors=0.01, new_errors=0.21)
    assert summary.phases[Phase.FAILED] == RUNS
    assert summary.requests[RUNS // 2] < 40
