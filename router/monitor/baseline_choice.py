"""What the answers of a version are held to when their labels come: from its profile, or from its first labels. Pure.

A version whose profile brings baselines is held to them. One that made its own reference makes its own baselines too,
of its first labelled rows: they cannot know what was wrong from the start, so the version is marked `self`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from router.drift.profile import Profile
from router.monitor.state import Judged, VersionState
from router.performance.baseline import Baseline, Task
from router.performance.metrics import baselines

Floats = npt.NDArray[np.float64]


class Standard(NamedTuple):
    """A task and its baselines."""

    task: Task
    baselines: tuple[Baseline, ...]
    is_own: bool
    """Made of the version's own first labels."""

    @property
    def watched(self) -> Baseline | None:
        """The baseline that alarms are raised on: the first whose metric a bounded loss stands for."""
        return next((each for each in self.baselines if each.metric.has_bounded_loss), None)


def standard_of(profile: Profile, state: VersionState) -> Standard | None:
    """Return what a version is held to; None while nothing is known."""
    if profile.task is not None and profile.score and profile.baselines:
        return Standard(profile.task, profile.baselines, is_own=False)
    if state.own_task is not None:
        return Standard(state.own_task, state.own_baselines, is_own=True)
    return None


def gather_labels(state: VersionState, rows: list[Judged], enough: int) -> None:
    """Keep the first labelled rows of a version, and make its baselines once there are enough."""
    state.first_labels = [*state.first_labels, *rows]
    if len(state.first_labels) < enough:
        return
    said, truth, sure = columns(state.first_labels)
    task = task_of(said, truth)
    found = baselines(task, said, truth, sure=sure)
    state.first_labels = []
    if found:
        state.own_task, state.own_baselines = task, found


def task_of(said: Floats, truth: Floats) -> Task:
    """Tell a task from answers and labels: shares beside 0 and 1 are binary, whole numbers classes."""
    if np.isin(truth, (0.0, 1.0)).all() and ((said >= 0) & (said <= 1)).all():
        return Task.BINARY
    whole = np.array_equal(said, np.rint(said)) and np.array_equal(truth, np.rint(truth))
    return Task.MULTICLASS if whole else Task.REGRESSION


def columns(rows: Sequence[Judged]) -> tuple[Floats, Floats, Floats]:
    """Return what was said, the truth, and the probability of the truth: [rows] each."""
    said, truth, sure = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return said, truth, sure
