"""Plays thousands of rollouts against the comparisons of `router.analysis`, looking after every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from router.analysis.counts import Counts
from router.analysis.proportion import compare_error_rates
from router.analysis.sample_ratio import sample_ratio
from router.analysis.verdict import Verdict

ALPHA: Final = 0.05
MISMATCH_ALPHA: Final = 0.001
RUNS: Final = 1000
#: Two-sided 5 % of a single look.
Z: Final = 1.96
#: Requests of the canary at each look: after each of the first 20, then ever more rarely.
LOOKS: Final[tuple[int, ...]] = (*range(1, 20), *range(20, 200, 10), *range(200, 1000, 50), *range(1000, 5001, 200))

Look = tuple[Counts, Counts]
Judge = Callable[[Counts, Counts], bool]


@dataclass(frozen=True)
class Case:
    """One kind of rollout."""

    name: str
    control: float
    """Error rate."""
    canary: float
    control_per_canary: int = 1


@dataclass(frozen=True)
class Result:
    """What became of a case."""

    case: Case
    caught: tuple[int, ...]
    """Canary requests at the first FAIL, of each run that had one, ascending."""
    runs: int

    @property
    def rate(self) -> float:
        """Share of runs with a FAIL."""
        return len(self.caught) / self.runs

    def needed(self, share: float) -> str:
        """Canary requests after which this share of the runs has failed the canary."""
        rank = int(np.ceil(share * self.runs)) - 1
        return str(self.caught[rank]) if rank < len(self.caught) else "-"


@dataclass(frozen=True)
class Findings:
    """Everything measured."""

    alike: tuple[Result, ...]
    naive: tuple[Result, ...]
    """The same runs of A/A, judged by a z test at each look."""
    worse: tuple[Result, ...]
    kept: float
    """Share of experiments with a sample-ratio alarm whose split is kept."""
    lost: float
    """Share with an alarm when a fifth of one arm is lost."""


ALIKE: Final = (
    Case("0.1 % errors", 0.001, 0.001),
    Case("1 % errors", 0.01, 0.01),
    Case("1 % errors, canary has 5 % of the traffic", 0.01, 0.01, 19),
    Case("10 % errors", 0.10, 0.10),
)
WORSE: Final = (
    Case("0.1 % → 5.1 %", 0.001, 0.051),
    Case("1 % → 6 %", 0.01, 0.06),
    Case("1 % → 6 %, canary has 5 % of the traffic", 0.01, 0.06, 19),
    Case("10 % → 15 %", 0.10, 0.15),
    Case("0.1 % → 20 %, canary has 10 % of the traffic", 0.001, 0.20, 9),
    Case("1 % → 2 %", 0.01, 0.02),
)


def measure() -> Findings:
    """Run everything; the seeds are fixed, so the numbers are the same each time."""
    rng = np.random.default_rng(20_240_601)
    alike = [(case, _paths(rng, case)) for case in ALIKE]
    return Findings(
        alike=tuple(_judge(case, *paths, sequential) for case, paths in alike),
        naive=tuple(_judge(case, *paths, naive) for case, paths in alike),
        worse=tuple(_judge(case, *_paths(rng, case), sequential) for case in WORSE),
        kept=_mismatches(rng, (0.9, 0.1)),
        lost=_mismatches(rng, (0.9, 0.08)),
    )


def sequential(canary: Counts, control: Counts) -> bool:
    """Judge as rollouts do."""
    return compare_error_rates(canary, control, margin=0.0, alpha=ALPHA).verdict is Verdict.FAIL


def naive(canary: Counts, control: Counts) -> bool:
    """Judge by the textbook's two-proportion z test, which is right for a single look."""
    pooled = (canary.events + control.events) / (canary.total + control.total)
    error = math.sqrt(pooled * (1 - pooled) * (1 / canary.total + 1 / control.total))
    return bool(error and (canary.rate - control.rate) / error > Z)


def _paths(rng: np.random.Generator, case: Case) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draw the errors of both arms, cumulated: one row per run, one column per look."""
    steps = np.diff((0, *LOOKS))
    canary = rng.binomial(steps, case.canary, (RUNS, len(steps))).cumsum(axis=1)
    control = rng.binomial(steps * case.control_per_canary, case.control, (RUNS, len(steps))).cumsum(axis=1)
    return canary, control


def _judge(case: Case, canary: npt.NDArray[np.int64], control: npt.NDArray[np.int64], judge: Judge) -> Result:
    first = (_first_failure(case, one, two, judge) for one, two in zip(canary.tolist(), control.tolist(), strict=True))
    return Result(case, tuple(sorted(n for n in first if n)), len(canary))


def _first_failure(case: Case, canary: Sequence[int], control: Sequence[int], judge: Judge) -> int:
    """Return the canary's requests at the first FAIL, 0 if there is none."""
    for n, mine, theirs in zip(LOOKS, canary, control, strict=True):
        # Fewer errors than the control's rate cannot fail: skipping them only saves time.
        if mine * case.control_per_canary > theirs and judge(
            Counts(n, mine), Counts(n * case.control_per_canary, theirs)
        ):
            return n
    return 0


def _mismatches(rng: np.random.Generator, arrivals: tuple[float, float]) -> float:
    """Share of runs with an alarm, looking every 200 of 10 000 requests, when 90 : 10 is expected."""
    share = arrivals[1] / sum(arrivals)
    canary = rng.binomial(200, share, (RUNS, 50)).cumsum(axis=1)
    alarms = 0
    for run in canary.tolist():
        looks = ((200 * (look + 1) - seen, seen) for look, seen in enumerate(run))
        alarms += any(sample_ratio(seen, (0.9, 0.1), MISMATCH_ALPHA).verdict is Verdict.FAIL for seen in looks)
    return alarms / RUNS
