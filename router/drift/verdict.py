"""Judges windows one after another: drift is what is large *and* cannot be chance, and stays until it is gone. Pure.

Three answers per column, each with its own promise:

- `drifted`: this window, by itself. Effect at least `least_psi`, and significant after Benjamini-Hochberg: of the
  columns so reported, at most `false_discovery_rate` are false on average.
- `alarmed`: over time. Evidence reached the level that keeps `expected_windows_between_false_alarms`, over all columns
  together, and the effect is large. Raised once, cleared after `windows_to_clear` small ones in a row (hysteresis).
- neither, with `rows` below `least_rows`: too few to say; evidence stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from router.drift.detector import CEILING, KAPPA, alarm_level, largest_e, p_to_e, shiryaev_roberts
from router.drift.distance import jensen_shannon, population_stability_index, wasserstein, without_noise
from router.drift.pane import Pane
from router.drift.profile import Column, NumericColumn, Profile, Role
from router.drift.quality import QualityFinding, find_faults
from router.drift.reference import folded, reference_for
from router.drift.significance import benjamini_hochberg, compare, kolmogorov_smirnov

Positive = Annotated[float, msgspec.Meta(gt=0)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class DriftSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What counts as drift."""

    expected_windows_between_false_alarms: Annotated[float, msgspec.Meta(ge=2)] = 1000.0
    """Mean windows from one false alarm of a whole version to the next, at least."""
    least_psi: Positive = 0.03
    """Smallest effect that is reported, noise and the column's own wander subtracted: 0.17 sd of a normal mean."""
    negligible_psi: Annotated[float, msgspec.Meta(ge=0)] = 0.005
    """Effect that is no evidence however many rows show it: 0.07 sd of a normal mean."""
    false_discovery_rate: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.05
    least_rows: AtLeastOne = 150
    windows_to_alarm: AtLeastOne = 2
    """However strong, evidence of fewer windows than this is no alarm."""
    windows_to_clear: AtLeastOne = 3
    kappa: Annotated[float, msgspec.Meta(gt=0, lt=1)] = KAPPA


class ColumnState(msgspec.Struct, frozen=True):
    """What is remembered of a column between windows."""

    evidence: float = 0.0
    alarmed: bool = False
    small: int = 0
    """Windows in a row, while alarmed, whose effect was small."""
    seen: bool = False
    """A window had rows of it."""


class ColumnVerdict(msgspec.Struct, frozen=True):
    """One column in one window."""

    name: str
    role: Role
    rows: int
    psi: float
    """Population stability index, what chance contributes subtracted."""
    jensen_shannon: float
    wasserstein: float
    """In deviations of the reference; NaN for categories."""
    kolmogorov_smirnov: float
    """Greatest gap of the distribution functions; NaN for categories."""
    p_value: float
    """Of no difference but the column's own wander, by chi-square."""
    q_value: float
    """The same over all columns, by Benjamini-Hochberg."""
    evidence: float
    """Shiryaev-Roberts sum over the windows so far."""
    drifted: bool
    alarmed: bool


class WindowVerdict(msgspec.Struct, frozen=True):
    """One window of one version and arm."""

    rows: int
    columns: tuple[ColumnVerdict, ...]
    faults: tuple[QualityFinding, ...]
    level: float
    """The evidence that alarms."""

    @property
    def drifted(self) -> tuple[str, ...]:
        """Columns that drifted in this window."""
        return tuple(column.name for column in self.columns if column.drifted)

    @property
    def alarmed(self) -> tuple[str, ...]:
        """Columns under alarm: what the ladder's warning is about."""
        return tuple(column.name for column in self.columns if column.alarmed)


class _Measured(NamedTuple):
    column: Column
    rows: int
    psi: float
    jensen_shannon: float
    wasserstein: float
    gap: float
    p_value: float
    beyond_negligible: float

    @property
    def excess(self) -> float:
        """Index beyond what the column wanders by itself."""
        return self.psi - self.column.wander


def judge_window(
    profile: Profile, window: Pane, state: Mapping[str, ColumnState], settings: DriftSettings
) -> tuple[dict[str, ColumnState], WindowVerdict]:
    """Judge the next window of a stream; return what to remember, and the verdict.

    Args:
        profile: the reference.
        window: sum of panes that share no row with an earlier window.
        state: what the last call returned; empty at first.
        settings: what counts as drift.
    """
    level = alarm_level(settings.expected_windows_between_false_alarms, len(profile.columns))
    measured = [_measure(column, window, settings) for column in profile.columns]
    q_values = benjamini_hochberg(np.array([each.p_value for each in measured]))
    states, verdicts = {}, []
    for each, q_value in zip(measured, q_values.tolist(), strict=True):
        name = each.column.name
        enough = each.rows >= settings.least_rows
        before = state.get(name, ColumnState())
        after = _remember(before, each, level, settings) if enough else before
        states[name] = msgspec.structs.replace(after, seen=before.seen or each.rows > 0)
        verdicts.append(
            ColumnVerdict(
                name=name,
                role=each.column.role,
                rows=each.rows,
                psi=each.psi,
                jensen_shannon=each.jensen_shannon,
                wasserstein=each.wasserstein,
                kolmogorov_smirnov=each.gap,
                p_value=each.p_value,
                q_value=q_value,
                evidence=after.evidence,
                drifted=enough and each.excess >= settings.least_psi and q_value <= settings.false_discovery_rate,
                alarmed=after.alarmed,
            )
        )
    faults = find_faults(profile, window, [name for name, each in states.items() if each.seen])
    return states, WindowVerdict(window.rows, tuple(verdicts), tuple(faults), level)


def _measure(column: Column, window: Pane, settings: DriftSettings) -> _Measured:
    counts = window.counts(column.name)
    rows = int(counts.sum())
    reference = reference_for(column, window.hours)
    if not rows or not reference.rows:
        return _Measured(column, rows, 0.0, 0.0, nan, nan, 1.0, 1.0)
    current, shares = folded(column, counts), folded(column, reference.shares)
    comparison = compare(current, shares, reference.rows)
    q = current / rows
    psi = population_stability_index(q, shares)
    bins = int(np.count_nonzero((q > 0) | (shares > 0)))
    area, gap = nan, nan
    if isinstance(column, NumericColumn) and counts[1:].any() and reference.shares[1:].any():
        known, usual = counts[1:] / counts[1:].sum(), reference.shares[1:] / reference.shares[1:].sum()
        if column.deviation:
            area = wasserstein(known, usual, np.array(column.edges)) / column.deviation
        gap, _ = kolmogorov_smirnov(known, usual, rows, reference.rows)
    return _Measured(
        column=column,
        rows=rows,
        psi=without_noise(psi, bins, rows, reference.rows),
        jensen_shannon=jensen_shannon(q, shares),
        wasserstein=area,
        gap=gap,
        p_value=comparison.p_value(column.wander),
        beyond_negligible=comparison.p_value(column.wander + settings.negligible_psi),
    )


def _remember(state: ColumnState, each: _Measured, level: float, settings: DriftSettings) -> ColumnState:
    e = min(p_to_e(each.beyond_negligible, settings.kappa), largest_e(level, settings.windows_to_alarm))
    evidence = min(shiryaev_roberts(state.evidence, e), level * CEILING)
    if not state.alarmed:
        return ColumnState(evidence, evidence >= level and each.excess >= settings.least_psi)
    small = state.small + 1 if each.excess < settings.least_psi / 2 else 0
    return ColumnState() if small >= settings.windows_to_clear else ColumnState(evidence, alarmed=True, small=small)
