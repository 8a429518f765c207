"""Faults in the data itself: missing, out of range, never seen, stuck at one value, unreadable. Pure.

A share is faulty when it is above the reference's by more than chance allows. Chance is bounded by Chernoff's
inequality, P(k of n or more) <= exp(-n KL(k/n || p)), which is exact for no n but wrong for none, rare events included.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum
from math import exp, log
from typing import Final, NamedTuple

from router.drift.binning import UNSEEN
from router.drift.numbers import NULL
from router.drift.pane import Pane
from router.drift.profile import CategoricalColumn, Column, NumericColumn, Profile

#: Probability that chance alone makes one finding.
ALPHA: Final = 1e-6
#: A share below this is not reported, however certain.
LEAST_SHARE: Final = 0.001
#: Rows below which a column that shows one value is not called stuck.
STUCK_ROWS: Final = 100


class Fault(StrEnum):
    """What can be wrong."""

    MISSING = "missing"
    """Nulls; in an output: NaN."""
    NEW_CATEGORY = "new_category"
    OUT_OF_RANGE = "out_of_range"
    STUCK = "stuck"
    """One value only, where the reference has many: a stale feature, or a model that answers always the same."""
    SCHEMA = "schema"
    """Payloads that cannot be read or lack columns of the profile; the reference had none. Or a tensor of the profile
    that no payload has had an entry of for each row: nothing else would be said of it."""


class QualityFinding(NamedTuple):
    """One fault of one column in one window."""

    fault: Fault
    column: str
    """For `SCHEMA` the tensor; empty where it is about payloads as a whole."""
    share: float
    """Of the window's rows, or payloads."""
    expected: float
    p_value: float
    """Upper bound."""


def find_faults(profile: Profile, window: Pane, seen: Collection[str] = ()) -> list[QualityFinding]:
    """List the faults of a window, the columns' order kept.

    Args:
        profile: the reference.
        window: what is judged.
        seen: names of the columns that had rows in earlier windows.
    """
    findings = []
    rows = max((sum(column.counts) for column in profile.columns), default=0)
    schema = _excess(Fault.SCHEMA, "", window.broken, window.messages, (0, rows))
    findings += [schema] if schema else []
    findings += [QualityFinding(Fault.SCHEMA, tensor, 1.0, 0.0, 0.0) for tensor in _never_seen(profile, window, seen)]
    for column in profile.columns:
        if column.role != "derived":
            findings += _column_faults(column, window)
    return findings


def excess_p_value(seen: int, rows: int, expected: float) -> float:
    """Bound the probability of at least `seen` of `rows` events with probability `expected` each."""
    share = seen / rows if rows else 0.0
    if share <= expected:
        return 1.0
    if expected <= 0:
        return 0.0
    divergence = share * log(share / expected)
    if share < 1:
        divergence += (1 - share) * log((1 - share) / (1 - expected))
    return exp(-rows * divergence)


def _never_seen(profile: Profile, window: Pane, seen: Collection[str]) -> list[str]:
    """List the tensors of which no row came yet, though rows came of others of their role.

    Only where the profile was told: what the monitor made of the first requests does not promise how others look.
    """
    if profile.self_referenced:
        return []
    told = [column for column in profile.columns if column.role != "derived"]
    had = {column.name for column in told if column.name in seen or window.counts(column.name).any()}
    # A row of inputs may have no tensor that is a column; of outputs only columns tell that rows came.
    alive = {column.role for column in told if column.name in had} | ({"input"} if window.rows else set())
    return list(dict.fromkeys(each.tensor for each in told if each.name not in had and each.role in alive))


def _column_faults(column: Column, window: Pane) -> Iterator[QualityFinding]:
    counts = [int(count) for count in window.counts(column.name)]
    rows = sum(counts)
    if not rows:
        return
    numeric = isinstance(column, NumericColumn)
    suspects = [(Fault.MISSING, counts[NULL], column.counts[NULL])]
    if numeric:
        outside = column.counts[1] + column.counts[-1]
        suspects.append((Fault.OUT_OF_RANGE, counts[1] + counts[-1], outside))
    else:
        suspects.append((Fault.NEW_CATEGORY, counts[UNSEEN], column.counts[UNSEEN]))
    for fault, seen, before in suspects:
        finding = _excess(fault, column.name, seen, rows, (before, sum(column.counts)))
        if finding is not None:
            yield finding
    if rows >= STUCK_ROWS and _is_stuck(column, counts, window):
        yield QualityFinding(Fault.STUCK, column.name, 1.0, max(column.counts) / max(1, sum(column.counts)), 0.0)


def _excess(fault: Fault, column: str, seen: int, total: int, reference: tuple[int, int]) -> QualityFinding | None:
    """Report what was seen more often than the reference and chance explain; `reference`: seen and total there."""
    if not seen:
        return None
    # One more of each than was seen: what a sample did not show is rare, not impossible (Laplace).
    expected = (reference[0] + 1) / (reference[1] + 2)
    p_value, share = excess_p_value(seen, total, expected), seen / total
    is_fault = p_value <= ALPHA and share >= LEAST_SHARE
    return QualityFinding(fault, column, share, expected, p_value) if is_fault else None


def _is_stuck(column: Column, counts: list[int], window: Pane) -> bool:
    """Whether all rows show one value, and the reference would do so with probability ALPHA at most."""
    bin_number = max(range(len(counts)), key=counts.__getitem__)
    rows = counts[bin_number]
    if rows != sum(counts) or bin_number == NULL:
        return False
    share = (column.counts[bin_number] + 1) / (sum(column.counts) + 2)
    if rows * log(share) > log(ALPHA):
        return False
    if isinstance(column, CategoricalColumn):
        return True
    moments = window.moments(column.name)
    return moments is not None and moments[1] == 0.0
