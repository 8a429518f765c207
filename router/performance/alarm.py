"""Sequential alarms on a bounded loss: a drop in performance, told after every label, with a stated run length. Pure.

For each severity, with m0 the mean loss at *half* its drop, and m1 at all of it,

    M_t = (M_{t-1} + 1) (1 + lambda (x_t - m0)),   averaged over several lambda,

stays below c for at least c labels on average as long as the mean loss, given the past, is at most m0: for any
distribution on [0, 1] and any order of labels (Shin, Ramdas, Rinaldo: "E-detectors", 2024, with the betting e-values of
Waudby-Smith, Ramdas, 2024). An alarm then also asks that the drop *measured* since the likely moment of change, over
`window` losses at most, has the severity's size. Evidence against the full drop itself would never come for a drop just
above it; against half of it, it comes soon, and the measured size does the grading.

The price: a true drop between half the threshold and all of it may be graded one too high, by the noise of the measure.
Such a drop is no false alarm of the model, but it is one of the grade; docs/results/performance-alarms.md counts them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from math import log1p
from typing import Annotated, Final

import msgspec

from router.performance.baseline import Baseline
from router.performance.severity import Severity

_CEILING: Final = 1e15
#: Bets in units of the one that is best against the full drop: weaker for slow drops, stronger for collapses.
_BETS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
_LARGEST_BET: Final = 0.9
_TRACKING_BET: Final = 2
#: A drop is measured over at least this many losses.
SHORTEST_SPAN: Final = 50


class Grade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it takes to be of a severity."""

    severity: Severity
    drop: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    """Relative to the baseline."""
    losses_between_false_alarms: Annotated[float, msgspec.Meta(ge=2)]
    """On average, at least; by what the severity's action costs."""


GRADES: Final = (
    Grade(Severity.WARNING, 0.05, 1e4),
    Grade(Severity.CRITICAL, 0.05, 1e5),
    Grade(Severity.EMERGENCY, 0.15, 1e6),
)


class AlarmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of the alarms of one version and arm."""

    grades: tuple[Grade, ...] = GRADES
    window: Annotated[int, msgspec.Meta(ge=10)] = 500
    """Losses over which a drop is measured, at most."""
    least_losses: Annotated[int, msgspec.Meta(ge=1)] = 100
    """Fewer never alarm."""


class AlarmState(msgspec.Struct, frozen=True):
    """What is remembered between labels; a value, so that a monitor can be killed and go on."""

    evidence: tuple[tuple[float, ...], ...] = ()
    """Per grade, one sum per bet."""
    recent: tuple[float, ...] = ()
    """The last `window` losses."""
    losses: int = 0
    """Seen so far."""
    severity: Severity = Severity.OK
    suspicion: float = 0.0
    """CUSUM of the logarithms of the factors; it is 0 where a change is most likely to have come after."""
    since: int = 0
    """Losses since then."""

    @property
    def current_loss(self) -> float:
        """Mean of the losses since the likely change, of the last `window` at most; 0 when there are none."""
        span = min(len(self.recent), max(self.since, SHORTEST_SPAN))
        return sum(self.recent[-span:]) / span if span else 0.0

    def strength(self, grade: int) -> float:
        """Return the evidence of a grade, to be compared with its `losses_between_false_alarms`."""
        sums = self.evidence[grade] if self.evidence else ()
        return sum(sums) / len(sums) if sums else 0.0


@lru_cache(maxsize=1024)
def bets(baseline: Baseline, grade: Grade) -> tuple[float, tuple[float, ...]]:
    """Return m0 and the lambdas of a grade; each factor 1 + lambda (x - m0) stays positive for x in [0, 1]."""
    m0 = baseline.excused_loss_after(grade.drop / 2)
    m1 = max(baseline.excused_loss_after(grade.drop), m0 + 1e-6)
    m0 = max(m0, 1e-6)
    best = (m1 - m0) / max(m0 * (1 - m0), 1e-6)
    return m0, tuple(min(best * bet, _LARGEST_BET / m0) for bet in _BETS)


def advance(state: AlarmState, losses: Iterable[float], baseline: Baseline, settings: AlarmSettings) -> AlarmState:
    """Take more losses, in the order in which their labels came, and return what stands then.

    A severity is only ever raised here. It is taken back, and the evidence with it, when the drop measured over a full
    window is below half the smallest grade's.
    """
    wagers = [bets(baseline, grade) for grade in settings.grades]
    small = min(grade.drop for grade in settings.grades)
    track = _Track(state, settings)
    for loss in losses:
        track.add(loss, wagers)
        if track.seen >= settings.least_losses:
            drop = baseline.drop_of_loss(track.mean_since_change())
            track.severity = max(track.severity, _reached(track.evidence, drop, settings))
        if track.severity and len(track.recent) == settings.window:
            whole = baseline.drop_of_loss(max(0.0, track.total / settings.window))
            if whole < small / 2:
                track.forget()
    return track.state()


class _Track:
    """The state of `advance` while it runs: mutable, since this is the work of every label."""

    def __init__(self, state: AlarmState, settings: AlarmSettings) -> None:
        self.evidence = [list(sums) for sums in state.evidence] or [[0.0] * len(_BETS) for _ in settings.grades]
        self.recent = deque(state.recent, maxlen=settings.window)
        self.total = sum(self.recent)
        self.seen = state.losses
        self.severity = state.severity
        self.suspicion = state.suspicion
        self.since = state.since

    def add(self, loss: float, wagers: list[tuple[float, tuple[float, ...]]]) -> None:
        if len(self.recent) == self.recent.maxlen:
            self.total -= self.recent[0]
        self.recent.append(loss)
        self.total += loss
        self.seen += 1
        for sums, (m0, lambdas) in zip(self.evidence, wagers, strict=True):
            for i, bet in enumerate(lambdas):
                sums[i] = min((sums[i] + 1) * (1 + bet * (loss - m0)), _CEILING)
        m0, lambdas = wagers[0]
        self.suspicion += log1p(lambdas[_TRACKING_BET] * (loss - m0))
        self.since += 1
        if self.suspicion <= 0:
            self.suspicion, self.since = 0.0, 0

    def mean_since_change(self) -> float:
        span = min(len(self.recent), max(self.since, SHORTEST_SPAN))
        if span == len(self.recent):
            return max(0.0, self.total / span)
        return sum(islice(reversed(self.recent), span)) / span

    def forget(self) -> None:
        self.severity = Severity.OK
        self.evidence = [[0.0] * len(_BETS) for _ in self.evidence]

    def state(self) -> AlarmState:
        return AlarmState(
            evidence=tuple(map(tuple, self.evidence)),
            recent=tuple(self.recent),
            losses=self.seen,
            severity=self.severity,
            suspicion=self.suspicion,
            since=self.since,
        )


def _reached(evidence: list[list[float]], drop: float, settings: AlarmSettings) -> Severity:
    worst = Severity.OK
    for sums, grade in zip(evidence, settings.grades, strict=True):
        if drop >= grade.drop and sum(sums) >= grade.losses_between_false_alarms * len(sums):
            worst = max(worst, grade.severity)
    return worst
