"""Drift: false alarms on clean streams, and rows until an injected shift is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from loadtests.monitoring.streams import CATEGORICAL, SHIFTS, Rows, clean
from router.drift.binning import Binner
from router.drift.building import build_profile, columns_of
from router.drift.pane import Pane
from router.drift.profile import Profile
from router.drift.verdict import ColumnState, DriftSettings, WindowVerdict, judge_window

REFERENCE_ROWS: Final = 10_000
WINDOW_ROWS: Final = 500
SETTINGS: Final = DriftSettings()


class FalseAlarms(NamedTuple):
    """What clean windows led to."""

    windows: int
    alarms: int
    reports: int
    """Windows in which some column was reported as drifted by itself."""
    highest: float
    """Greatest evidence of any column, as a share of the level."""


class Delay(NamedTuple):
    """How long a shift went unseen."""

    shift: str
    rows: tuple[int, ...]
    """Per run, rows until the first alarm; those without are left out."""
    runs: int
    culprits: tuple[str, ...]
    """Columns under alarm first, the most frequent first."""


def reference_profile(rng: np.random.Generator) -> Profile:
    """Profile a clean reference."""
    rows = clean(rng, REFERENCE_ROWS)
    names = {"x": [f"x{i}" for i in range(rows.features.shape[1])]}
    return build_profile(
        [
            *columns_of({"x": rows.features}, "input", names=names, kinds={f"x{CATEGORICAL}": "categorical"}),
            *columns_of({"score": rows.score}, "output"),
        ]
    )


def count(binner: Binner, rows: Rows) -> Pane:
    """Count rows as the monitor does."""
    noon = np.full(len(rows.score), 12)
    inputs = binner.bin_rows({"x": rows.features}, "input", noon)
    return inputs + binner.bin_rows({"score": rows.score[:, None]}, "output", noon)


class Stream:
    """One monitored stream."""

    def __init__(self, profile: Profile) -> None:
        self._binner = Binner(profile)
        self._state: dict[str, ColumnState] = {}

    def judge(self, rows: Rows) -> WindowVerdict:
        """Judge the next window."""
        window = count(self._binner, rows)
        self._state, verdict = judge_window(self._binner.profile, window, self._state, SETTINGS)
        return verdict


def false_alarms(windows: int, references: int) -> FalseAlarms:
    """Watch `windows` clean windows, against `references` references in turn: a reference is itself a sample."""
    alarms = reports = 0
    highest = 0.0
    for seed in range(references):
        rng = np.random.default_rng(seed)
        stream, standing = Stream(reference_profile(rng)), frozenset[str]()
        for _ in range(windows // references):
            verdict = stream.judge(clean(rng, WINDOW_ROWS))
            alarms += len(set(verdict.alarmed) - standing)
            standing = frozenset(verdict.alarmed)
            reports += bool(verdict.drifted)
            highest = max(highest, *(column.evidence / verdict.level for column in verdict.columns))
    return FalseAlarms(windows, alarms, reports, highest)


def delays(runs: int) -> list[Delay]:
    """Inject every shift after 20 clean windows, `runs` times."""
    return [_delay(name, shifted, runs) for name, shifted in SHIFTS.items()]


def _delay(name: str, shifted: Callable[[np.random.Generator, int], Rows], runs: int) -> Delay:
    found, culprits = [], Counter[str]()
    for seed in range(runs):
        rng = np.random.default_rng(1000 + seed)
        stream = Stream(reference_profile(rng))
        for _ in range(20):
            stream.judge(clean(rng, WINDOW_ROWS))
        for window in range(1, 41):
            verdict = stream.judge(shifted(rng, WINDOW_ROWS))
            if verdict.alarmed:
                found.append(window * WINDOW_ROWS)
                culprits.update(verdict.alarmed)
                break
    return Delay(name, tuple(found), runs, tuple(column for column, _ in culprits.most_common(3)))
