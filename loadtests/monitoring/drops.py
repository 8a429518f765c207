"""Performance: labels until a drop is told, and false alarms on labels without one."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from router.performance.alarm import AlarmSettings, AlarmState, advance
from router.performance.baseline import Baseline, Metric
from router.performance.severity import Severity

ERROR: Final = 0.10
DROPS: Final = (0.03, 0.06, 0.10, 0.16, 0.25)
_CLEAN_BEFORE: Final = 2000
_MOST: Final = 10_000
_STEP: Final = 5
SETTINGS: Final = AlarmSettings()
BASELINE: Final = Baseline(Metric.ACCURACY, 1 - ERROR, 0.897, 0.903, 50_000, ERROR, 0.0013)
LOUD: Final = (Severity.WARNING, Severity.CRITICAL, Severity.EMERGENCY)


class Found(NamedTuple):
    """Labels until each severity."""

    drop: float
    runs: int
    labels: dict[Severity, list[int]]
    """Of the runs that reached it."""


def losses(rng: np.random.Generator, labels: int, drop: float) -> list[float]:
    """Draw wrong (1) and right (0) answers at this relative drop of accuracy."""
    wrong: list[float] = (rng.random(labels) < 1 - (1 - ERROR) * (1 - drop)).astype(float).tolist()
    return wrong


def false_alarms(runs: int, labels: int) -> dict[Severity, int]:
    """Count the runs of `labels` clean labels that reach each severity."""
    reached = dict.fromkeys(LOUD, 0)
    for seed in range(runs):
        drawn, state, worst = losses(np.random.default_rng(seed), labels, 0.0), AlarmState(), Severity.OK
        for start in range(0, labels, 100):
            state = advance(state, drawn[start : start + 100], BASELINE, SETTINGS)
            worst = max(worst, state.severity)
        for severity in LOUD:
            reached[severity] += worst >= severity
    return reached


def detect(drop: float, runs: int) -> Found:
    """Let accuracy drop after 2 000 clean labels."""
    labels: dict[Severity, list[int]] = {severity: [] for severity in LOUD}
    for seed in range(runs):
        rng = np.random.default_rng(10_000 + seed)
        state = advance(AlarmState(), losses(rng, _CLEAN_BEFORE, 0.0), BASELINE, SETTINGS)
        seen, drawn = 0, losses(rng, _MOST, drop)
        missing = set(LOUD)
        while missing and seen < _MOST:
            state = advance(state, drawn[seen : seen + _STEP], BASELINE, SETTINGS)
            seen += _STEP
            for severity in [each for each in missing if state.severity >= each]:
                labels[severity].append(seen)
                missing.discard(severity)
    return Found(drop, runs, labels)
