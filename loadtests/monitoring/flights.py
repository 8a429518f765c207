"""The year's flights against a model of January and February: what the monitor says, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_predict

from demo.flights import FEATURES, Flights
from demo.train import recipes
from router.drift.binning import Binner
from router.drift.building import Kind, build_profile, columns_of
from router.drift.pane import Pane
from router.drift.profile import Profile
from router.drift.verdict import ColumnState, DriftSettings, judge_window
from router.performance.alarm import AlarmSettings, AlarmState, advance
from router.performance.baseline import Baseline, Metric, Task
from router.performance.calibration import calibrated
from router.performance.escalation import Command, Evidence, LadderSettings, LadderState
from router.performance.escalation import advance as climb
from router.performance.estimate import estimate
from router.performance.loss import bounded_losses
from router.performance.metrics import measure

Floats = npt.NDArray[np.float64]

#: A window holds every day of the week and every hour: shorter ones would call the timetable a drift.
WINDOW_DAYS: Final = 7
KINDS: Final[dict[str, Kind]] = dict.fromkeys(("carrier", "origin", "destination", "day_of_week"), "categorical")


class Month(NamedTuple):
    """One month as labels show it, and as the model expects it of itself."""

    month: int
    flights: int
    late: float
    accuracy: float
    auc: float
    estimated_accuracy: float
    estimated_auc: float


class Moment(NamedTuple):
    """The ladder did something."""

    day: np.datetime64
    command: Command
    columns: tuple[str, ...]
    """Under drift alarm at that moment."""
    auc_drop: float


class Day(NamedTuple):
    """Where things stood in the evening."""

    day: np.datetime64
    auc_drop: float
    alarmed: int
    """Columns under drift alarm."""


class Replay(NamedTuple):
    """The year from March on."""

    baseline: Baseline
    months: list[Month]
    moments: list[Moment]
    daily: list[Day]
    before: tuple[str, ...]
    """Columns that alarm when January and February are replayed against their own profile."""


def fit(flights: Flights) -> tuple[Any, Profile]:
    """Fit January and February; profile them with scores of flights that the fit had not seen, by weeks."""
    recipe = recipes()[0]
    seen = flights.labelled().months(recipe.first_month, recipe.last_month)
    week = seen.date.astype("datetime64[D]").astype(int) // 7
    unseen = cross_val_predict(
        clone(recipe.estimator), seen.features, seen.late, groups=week, cv=GroupKFold(3), method="predict_proba"
    )[:, 1]
    profile = build_profile(
        [
            *columns_of({"features": seen.features}, "input", names={"features": FEATURES}, kinds=KINDS),
            *columns_of({"score": unseen}, "output"),
        ],
        task=Task.BINARY,
        score="score",
        labels=seen.late.astype(np.float64),
        stretches=len(np.unique(week)),
        metrics=(Metric.AUC, Metric.ACCURACY, Metric.BRIER),
    )
    return recipe.estimator.fit(seen.features, seen.late), profile


def replay(flights: Flights) -> Replay:
    """Replay March to December in the order of departure; labels arrive with the window of their flight."""
    estimator, profile = fit(flights)
    year = flights.months(3, 12)
    scores = np.asarray(estimator.predict_proba(year.features)[:, 1], dtype=np.float64)
    moments, daily = _watch(profile, year, scores)
    winter = flights.months(1, 2)
    usual, _ = _watch(profile, winter, np.asarray(estimator.predict_proba(winter.features)[:, 1], dtype=np.float64))
    before = sorted({column for moment in usual for column in moment.columns})
    return Replay(profile.baselines[0], list(_months(profile, year, scores)), moments, daily, tuple(before))


def _watch(profile: Profile, year: Flights, scores: Floats) -> tuple[list[Moment], list[Day]]:
    watch = Watch(profile)
    moments, daily = [], []
    for day in np.unique(year.date):
        part = year.date == day
        commands = watch.day(day, year.features[part], scores[part], year.late[part])
        drop = watch.baseline.drop_of_loss(watch.alarm.current_loss)
        moments += [Moment(day, command, watch.alarmed, drop) for command in commands]
        daily.append(Day(day, drop, len(watch.alarmed)))
    return moments, daily


class Watch:
    """The monitor of one version: labels every day, drift every week."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.baseline = profile.baselines[0]
        self.alarm = AlarmState()
        self.alarmed: tuple[str, ...] = ()
        self._binner = Binner(profile)
        self._week = Pane.empty(self._binner.layout)
        self._days = 0
        self._drift: dict[str, ColumnState] = {}
        self._ladder = LadderState()
        self._pending: tuple[tuple[float, float], ...] = ()

    def day(
        self, day: np.datetime64, features: npt.NDArray[np.float32], scores: Floats, late: npt.NDArray[np.int8]
    ) -> tuple[Command, ...]:
        """Take a day's flights; late is -1 where it never became known."""
        self._week += _count(self._binner, features, scores)
        self._days += 1
        if self._days == WINDOW_DAYS:
            self._drift, verdict = judge_window(self.profile, self._week, self._drift, DriftSettings())
            self.alarmed = verdict.alarmed
            self._week, self._days = Pane.empty(self._binner.layout), 0
        known = late >= 0
        found, self._pending = bounded_losses(
            self.baseline.metric, Task.BINARY, scores[known], late[known].astype(np.float64), pending=self._pending
        )
        self.alarm = advance(self.alarm, found.tolist(), self.baseline, AlarmSettings())
        at = float(day.astype("datetime64[s]").astype(np.int64))
        evidence = Evidence(at, drift=bool(self.alarmed), labelled=self.alarm.severity)
        self._ladder, commands = climb(self._ladder, evidence, LadderSettings(), "flight-delay/1")
        return commands


def _count(binner: Binner, features: npt.NDArray[np.float32], scores: Floats) -> Pane:
    noon = np.full(len(scores), 12)
    inputs = binner.bin_rows({"features": features}, "input", noon)
    return inputs + binner.bin_rows({"score": scores[:, None]}, "output", noon)


def _months(profile: Profile, year: Flights, scores: Floats) -> Iterator[Month]:
    number = year.date.astype("datetime64[M]").astype(int) % 12 + 1
    knots = profile.calibration
    for month in range(3, 13):
        known = (number == month) & (year.late >= 0)
        said, truth = scores[known], year.late[known].astype(np.float64)
        sure = calibrated(said, knots.scores, knots.probabilities) if knots else said
        yield Month(
            month=month,
            flights=len(truth),
            late=float(truth.mean()),
            accuracy=measure(Metric.ACCURACY, Task.BINARY, said, truth).value,
            auc=measure(Metric.AUC, Task.BINARY, said, truth).value,
            estimated_accuracy=estimate(Metric.ACCURACY, said, sure).value,
            estimated_auc=estimate(Metric.AUC, said, sure).value,
        )
