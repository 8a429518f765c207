"""How many rows a batch may have: additive increase, multiplicative decrease against a latency objective. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: A batch of n must cost less than this share of n single runs, or batching does not pay.
PAYS_BELOW: Final = 0.8


#: A batch that takes less than this many runs of one row is free: smaller ones would answer nobody sooner.
FREE_WITHIN: Final = 1.5


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
