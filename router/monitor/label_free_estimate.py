"""How a version does by its own sureness, window by window, without a label: a hint, never an emergency. Pure.

The estimate is made of the window's scores on the grid of the pane: a score counts as the middle of its cell, which is
1/512 away at most, and 0.5, where a class is decided, is a border between cells. So it needs no rows, and adds up.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from router.drift.layout import SCORE_GRID
from router.drift.pane import Pane
from router.drift.profile import Profile
from router.performance.calibration import calibrated
from router.performance.estimate import ESTIMABLE, estimate, estimated_severity
from router.performance.metrics import Estimate
from router.performance.severity import Severity

_MIDDLES: Final = (np.arange(SCORE_GRID) + 0.5) / SCORE_GRID


class LabelFreeEstimate(msgspec.Struct, frozen=True):
    """What the latest windows let expect."""

    metrics: dict[str, Estimate] = {}
    """Of the latest window."""
    latest: Severity = Severity.OK
    before: Severity = Severity.OK

    @property
    def severity(self) -> Severity:
        """What two windows in a row agree on: one alone is no evidence."""
        return min(self.latest, self.before)


def hint_of(profile: Profile, window: Pane, before: LabelFreeEstimate) -> LabelFreeEstimate:
    """Estimate each metric that the version is held to from a window's scores; empty where it cannot be."""
    knots = profile.calibration
    counts = window.scores
    if knots is None or not counts.any():
        return before
    sure = calibrated(_MIDDLES, knots.scores, knots.probabilities)
    weights = counts.astype(np.float64)
    metrics, severity = {}, Severity.OK
    for baseline in profile.baselines:
        if baseline.metric in ESTIMABLE:
            found = estimate(baseline.metric, _MIDDLES, sure, weights)
            metrics[baseline.metric.value] = found
    watched = next((each for each in profile.baselines if each.metric.has_bounded_loss), None)
    if watched is not None and watched.metric.value in metrics:
        severity = estimated_severity(metrics[watched.metric.value], watched)
    return LabelFreeEstimate(metrics, severity, before.latest)
