"""A load test fails by its limits, and says which."""

from __future__ import annotations

from loadtests.thresholds import Outcome, Thresholds, violations

LIMITS = Thresholds(fail_ratio=0.01, p95_ms=50)


def test_a_run_within_its_limits_passes() -> None:
    """A limit may be reached."""
    assert violations(LIMITS, [Outcome("V2 JSON", 100, 1, 50)], ["V2 JSON"]) == []


def test_each_limit_that_was_passed_is_named_with_its_figures() -> None:
    """The report's reader learns what to look for."""
    found = violations(LIMITS, [Outcome("gRPC", 100, 2, 51)], ["gRPC"])

    assert found == [
        "gRPC: 2 of 100 requests failed (2.00%), more than 1.00%",
        "gRPC: p95 is 51 ms, more than 50 ms",
    ]


def test_a_kind_of_user_that_sent_nothing_fails_the_run() -> None:
    """Silence is not success: users that cannot start would pass every limit."""
    found = violations(LIMITS, [Outcome("V2 JSON", 0, 0, 0)], ["V2 JSON", "gRPC"])

    assert found == ["V2 JSON: no request was sent", "gRPC: no request was sent"]
