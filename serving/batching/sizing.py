"""How many rows a batch may have: additive increase, multiplicative decrease against a latency objective. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: A batch of n must cost less than this share of n single runs, or batching does not pay.
PAYS_BELOW: Final = 0.8
#: A batch that takes less than this many runs of one row is free: smaller ones would answer nobody sooner.
FREE_WITHIN: Final = 1.5
#: Weight of one run in what a row is taken to cost: a run can be held up and never hurried.
_WEIGHT_SLOWER: Final = 0.2
_WEIGHT_QUICKER: Final = 0.5
#: A run counts as taking this many times as long as expected at most: one alone may be the first after a pause.
_OUTLIER: Final = 2.0


def next_row_s(row_s: float, *, rows: int, run_s: float) -> float:
    """Learn from a run what a run of one row takes, in seconds: the machine may be busier than while warming up.

    Args:
        row_s: what it was taken to take; 0 where nothing is known yet.
        rows: that the run had; one of many says nothing about one.
        run_s: seconds that it took.
    """
    if rows > 1:
        return row_s
    if not row_s:
        return run_s
    weight = _WEIGHT_SLOWER if run_s > row_s else _WEIGHT_QUICKER
    return row_s + weight * (min(run_s, _OUTLIER * row_s) - row_s)


def next_limit(limit: int, *, rows: int, run_s: float, row_s: float, objective_s: float, ceiling: int) -> int:
    """Adapt the row limit after a run (AIMD, as TCP's congestion window; Chiu and Jain, 1989).

    A run over the objective halves the limit. A full run well inside it (under half) adds an eighth, at least one. A
    run that is free never halves it and always adds: no limit would keep a model within an objective that one row
    exceeds.

    Args:
        limit: rows that a run could have had.
        rows: that it had.
        run_s: seconds that it took.
        row_s: seconds that a run of one row takes.
        objective_s: seconds that a run should take at most.
        ceiling: most rows that the limit may grow to.
    """
    is_free = run_s <= FREE_WITHIN * row_s
    if run_s > objective_s and not is_free:
        return max(1, limit // 2)
    if rows >= limit and (is_free or run_s < objective_s / 2):
        return min(ceiling, limit + max(1, limit // 8))
    return limit


def batching_pays(seconds_by_rows: Mapping[int, float]) -> bool:
    """Tell from warm-up timings whether the largest batch beats running its rows one by one."""
    largest = max(seconds_by_rows)
    return largest > 1 and seconds_by_rows[largest] < PAYS_BELOW * largest * seconds_by_rows[1]
