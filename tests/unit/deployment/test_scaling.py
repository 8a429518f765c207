"""Replicas follow the load: as many as it asks for, for reasons that can be read, and no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.deployment.scaling import ReplicaLoad, Scaling, ScalingLimits, Signal, decide_scaling

LIMITS = ScalingLimits(1, 8, target_in_flight=16, max_queued=8, objective_ms=50)


def loads(
    count: int, *, in_flight: float = 0, queued: float = 0, busy: float = 0.5, p95_ms: float = 5
) -> list[ReplicaLoad]:
    return [ReplicaLoad(in_flight / count, queued / count, busy, p95_ms)] * count


@pytest.mark.parametrize(
    ("reported", "decision"),
    [
        (loads(2, in_flight=16), Scaling(2, "")),
        (loads(2, in_flight=40), Scaling(3, "2 → 3: in flight 40, 16 each", Signal.IN_FLIGHT)),
        (loads(2, queued=38), Scaling(4, "2 → 4: queue 38 > 16", Signal.QUEUE)),
        (loads(2, busy=0.9), Scaling(3, "2 → 3: busy 90% > 80%", Signal.BUSY)),
        (loads(2, busy=0.7, p95_ms=90), Scaling(4, "2 → 4: p95 90 ms > 50 ms", Signal.LATENCY)),
        (loads(2, busy=0.1, p95_ms=90), Scaling(1, "2 → 1: busy 10% of the time", Signal.BUSY)),
        (loads(1, in_flight=1000, queued=900), Scaling(2, "1 → 2: in flight 1000, 16 each", Signal.IN_FLIGHT)),
        (loads(8, in_flight=1000, queued=900), Scaling(8, "")),
    ],
)
def test_the_largest_demand_wins_and_says_why(reported: list[ReplicaLoad], decision: Scaling) -> None:
    """Latency counts only while replicas are busy; one decision doubles at most."""
    assert decide_scaling(reported, len(reported), LIMITS) == decision


def test_replicas_that_are_starting_are_not_asked_for_twice() -> None:
    """Two report a load for four, and four there will be."""
    assert decide_scaling(loads(2, queued=38), 4, LIMITS) == Scaling(4, "")


def test_the_first_replica_comes_for_requests_that_wait() -> None:
    """None reports while there is none."""
    limits = ScalingLimits(0, 4, 16, 8)

    words = "0 → 1: 3 requests wait for a first replica"
    assert decide_scaling([], 0, limits, waiting=3) == Scaling(1, words, Signal.FIRST)
    assert decide_scaling([], 0, limits) == Scaling(0, "")


def test_an_idle_version_may_go_to_zero_only_if_it_asked_for_it() -> None:
    """Otherwise one replica stays warm."""
    idle = loads(1, busy=0)

    assert decide_scaling(idle, 1, ScalingLimits(0, 4, 16, 8)).replicas == 0
    assert decide_scaling(idle, 1, ScalingLimits(1, 4, 16, 8)).replicas == 1


@given(
    st.lists(
        st.builds(ReplicaLoad, st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1), st.floats(0, 1e6)), max_size=20
    ),
    st.integers(0, 20),
    st.integers(0, 5),
    st.integers(5, 20),
)
def test_bounds_hold_whatever_is_reported(reported: list[ReplicaLoad], current: int, low: int, high: int) -> None:
    """And a change always has a reason."""
    decision = decide_scaling(reported, current, ScalingLimits(low, high, 16, 8, 50), 1)

    assert low <= decision.replicas <= high
    assert (decision.replicas != current) == bool(decision.reason)
