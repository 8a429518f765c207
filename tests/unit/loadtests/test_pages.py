"""Pages of results say first whether a goal was met, with all failures counted."""

from __future__ import annotations

import pytest

from loadtests import shadow_isolation
from loadtests.changes import kill, step, swap, weights
from loadtests.steady import Answer, Latency

CALM = Latency(1000, 0, 1.0, 2.0, 3.0)
SLOW = Latency(1000, 0, 1.0, 3.0, 9.0)
LOSSY = Latency(1000, 7, 1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("during", "said"), [(CALM, "**met**: 0 of"), (SLOW, "**missed**: 0 of"), (LOSSY, "**missed**: 7 of")]
)
def test_a_swap_is_held_to_its_latency_and_its_failures(during: Latency, said: str) -> None:
    """p99 during the swap is compared with that before, swap by swap."""
    assert said in swap.render([swap.Swap(1.0, CALM, during)], 200.0, "0.1")


@pytest.mark.parametrize(("after", "said"), [(SLOW, "**met**: 0 of 2000"), (LOSSY, "**missed**: 7 of 2000")])
def test_a_death_may_cost_time_and_no_request(after: Latency, said: str) -> None:
    """With one replica requests wait; none fails."""
    assert said in kill.render([kill.Kill(1, 2.0, CALM, after)], 200.0, "0.1")


@pytest.mark.parametrize(
    ("calm_s", "high", "said"), [(9.0, CALM, "**met**"), (20.0, CALM, "**missed**"), (9.0, LOSSY, "**missed**")]
)
def test_a_step_is_held_to_the_time_until_latency_is_back(calm_s: float, high: Latency, said: str) -> None:
    """And to losing nothing on the way up or down."""
    assert said in step.render([step.Step(5.0, calm_s, 4, 6.0, CALM, high)], "0.1")


@pytest.mark.parametrize(("lag_s", "said"), [(0.05, "**met**"), (0.2, "**missed**")])
def test_changes_of_weights_are_held_to_the_slowest(lag_s: float, said: str) -> None:
    """p99 over all changes, from before the request to the admin API."""
    made = [weights.Change("canary", 10.0, 10.01), weights.Change("stable", 20.0, 20.01)]
    answers = [Answer(10.0 + lag_s, 0.001, 200, "stable", "r1"), Answer(15.0, 0.001, 200, "canary", "r2")]

    assert said in weights.render(made, answers, 1000.0, "0.1")


@pytest.mark.parametrize(("with_it", "said"), [(CALM, "**met**"), (SLOW, "**missed**"), (LOSSY, "**missed**")])
def test_a_shadow_may_change_neither_latency_nor_outcome(with_it: Latency, said: str) -> None:
    """Whatever it does, at every rate."""
    pairs = [shadow_isolation.Pair("hangs", 100.0, CALM, CALM), shadow_isolation.Pair("computes", 100.0, CALM, with_it)]

    assert said in shadow_isolation.render(pairs, 2.0, "0.1")
