"""A load run counts only when every request was answered well."""

from __future__ import annotations

import pytest

from loadtests.bench.wrk import read_result
from loadtests.generators import LoadFailed


def printed(*, requests: int = 500, refused: int = 0, lost: int = 0) -> str:
    counts = f'"requests": {requests}, "duration_us": 2000000, "p50_us": 900, "p99_us": 1800'
    return f'Running 2s test\n  1 threads\n\n{{{counts}, "refused": {refused}, "lost": {lost}}}\n'


def test_the_result_is_the_last_line_that_the_script_prints() -> None:
    """The report of wrk itself goes before it."""
    load = read_result(printed())

    assert (load.requests_per_s, load.p50_us, load.p99_us) == (250, 900, 1800)


@pytest.mark.parametrize("counts", [{"refused": 1}, {"lost": 1}, {"requests": 0}])
def test_a_request_without_a_good_answer_fails_the_run(counts: dict[str, int]) -> None:
    """Errors are quick: a run with errors would look fast."""
    with pytest.raises(LoadFailed, match="were refused"):
        read_result(printed(**counts))


@pytest.mark.parametrize("text", ["", "unable to connect", '{"requests": 1}'])
def test_a_run_without_a_result_fails(text: str) -> None:
    """What wrk said instead is shown."""
    with pytest.raises(LoadFailed, match="reported no result"):
        read_result(text)
