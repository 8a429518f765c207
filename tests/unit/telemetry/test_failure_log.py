"""Work that is repeated outlives its failures, and nobody reads of each of them."""

from __future__ import annotations

import logging

import pytest

from serving.telemetry.failure_log import FailureLog


def test_a_failure_is_logged_when_it_begins_when_it_changes_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And not by each turn."""
    failures = FailureLog(logging.getLogger("test"), "Writing")
    with caplog.at_level(logging.INFO):
        for problem in (None, "full", "full", "full", "read-only", None, None, "full"):
            with failures.guard(OSError):
                if problem:
                    raise OSError(problem)
            assert (problem or "") in failures.reason
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "Writing failed, and will be tried again: OSError: full",
        "Writing failed, and will be tried again: OSError: read-only",
        "Writing works again",
        "Writing failed, and will be tried again: OSError: full",
    ]


def test_what_is_not_expected_goes_on() -> None:
    """It is somebody else's."""
    with pytest.raises(KeyError), FailureLog(logging.getLogger("test"), "Writing").guard(OSError):
        raise KeyError("key")
