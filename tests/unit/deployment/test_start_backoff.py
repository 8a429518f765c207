"""A replica that cannot start is not started again and again at full speed."""

from __future__ import annotations

from pathlib import Path

from serving.deployment.start_backoff import MAX_PAUSE_S, FailedStarts


def test_pauses_grow_with_the_failures_in_a_row(tmp_path: Path) -> None:
    """The first is told at once: somebody waits for the reason. Each attempt is a process of its own."""
    pauses = [FailedStarts(tmp_path, "m", 1).pause_s() for _ in range(9)]

    assert pauses == [0, 2, 4, 8, 16, 32, MAX_PAUSE_S, MAX_PAUSE_S, MAX_PAUSE_S]
    assert FailedStarts(tmp_path, "m", 2).pause_s() == 0, "another version has its own count"


def test_a_success_or_a_new_deployment_begins_anew(tmp_path: Path) -> None:
    """Also when there is nothing to forget."""
    starts = FailedStarts(tmp_path, "m", 1)
    starts.forget()
    starts.pause_s()
    starts.pause_s()
    starts.forget()

    assert starts.pause_s() == 0


def test_a_disk_that_is_full_or_gone_costs_no_pause(tmp_path: Path) -> None:
    """The reason is worth more."""
    assert FailedStarts(tmp_path / "gone", "m", 1).pause_s() == 0
