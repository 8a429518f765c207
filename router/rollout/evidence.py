"""What is known of a rollout at one moment: the counters of its arms and the state of its surroundings. Pure.

Counters are totals since the gateway began; evidence is the difference of two of them. A total below an earlier one
means that the counting began anew, and differs from it by nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from router.analysis.counts import Counts, Histogram
from router.analysis.verdict import Verdict
from router.policy.document import Policy
from router.policy.plan import AnyCheck
from router.rollout.faults import CLIENT_FAULTS
from serving.telemetry.catalog import OK


class ArmCounters(msgspec.Struct, frozen=True):
    """One variant under one version."""

    variant: str
    version: int
    outcomes: Mapping[str, int] = {}
    """Answers by outcome, the split's and those that a pin or rule sent here."""
    directed: Mapping[str, int] = {}
    """Those among them that were sent here by a pin, a rule or a fallback."""
    bounds: tuple[float, ...] = ()
    durations: tuple[int, ...] = ()

    @property
    def answered(self) -> int:
        """Answers of any outcome."""
        return sum(self.outcomes.values())

    @property
    def split(self) -> Counts:
        """Requests that the split sent here, and how many of them failed.

        Whatever is not `ok` counts as failed, also a client's own mistake: those of many clients hit both arms alike,
        and only a model with another signature makes them its own. One busy sticky client is in one arm, though, and
        its mistakes count against that.
        """
        mine = {outcome: max(0, n - self.directed.get(outcome, 0)) for outcome, n in self.outcomes.items()}
        total = sum(mine.values())
        return Counts(total, total - mine.get(OK, 0))

    @property
    def charged(self) -> Counts:
        """Answers that tell of the version, and the failures among them: of directed ones, no client's own fault."""
        excused = sum(n for outcome, n in self.directed.items() if outcome in CLIENT_FAULTS)
        total = max(0, self.answered - excused)
        return Counts(total, max(0, total - self.outcomes.get(OK, 0)))

    @property
    def latency(self) -> Histogram | None:
        """Durations in seconds; None when there is none."""
        return Histogram(self.bounds, self.durations) if self.bounds else None


class Counters(msgspec.Struct, frozen=True):
    """The counters of one model."""

    arms: tuple[ArmCounters, ...] = ()
    nonfinite: Mapping[int, int] = {}
    """By version: answered rows with NaN or infinity in them."""
    comparisons: Mapping[int, tuple[int, int]] = {}
    """By shadowed version: answers compared, and how many disagreed."""
    copies: Mapping[int, Mapping[str, int]] = {}
    """By shadowed version: what became of the copies sent to it, by outcome."""

    def arm(self, variant: str, version: int) -> ArmCounters:
        """Find an arm; one that has answered nothing is empty."""
        found = (each for each in self.arms if (each.variant, each.version) == (variant, version))
        return next(found, ArmCounters(variant, version))

    def answers_of(self, versions: Collection[int]) -> Counts:
        """Count answers of versions, and those among them that are not `ok`."""
        mine = [arm for arm in self.arms if arm.version in versions]
        total = sum(arm.answered for arm in mine)
        return Counts(total, total - sum(arm.outcomes.get(OK, 0) for arm in mine))

    def errors_of(self, versions: Collection[int]) -> Counts:
        """Count answers that tell of versions, and the failures among them."""
        return sum((arm.charged for arm in self.arms if arm.version in versions), Counts(0, 0))

    def rows_of(self, versions: Collection[int]) -> int:
        """Count rows that were not numbers: a request may hold many, and copies and probes have them too."""
        return sum(n for version, n in self.nonfinite.items() if version in versions)

    def failures_of(self, versions: Collection[int]) -> Counts:
        """Count answers that tell of versions, and those among them that failed hard: an error, or not a number."""
        errors = self.errors_of(versions)
        return Counts(errors.total, min(errors.total, errors.events + self.rows_of(versions)))


class Judgement(msgspec.Struct, frozen=True):
    """What one check says, in the form that is kept and shown."""

    check: str
    verdict: Verdict
    words: str
    estimate: float = 0.0
    low: float | None = None
    high: float | None = None
    dry_run: bool = False


class Observation(msgspec.Struct, frozen=True):
    """Everything that `advance` looks at beside the rollout itself."""

    policy: Policy | None
    """The model's policy as it stands; None when there is none."""
    policy_revision: int
    counters: Counters = Counters()
    candidate_state: str = "ready"
    """Of the version that is rolled out: see `VersionStatus.state`."""
    candidate_reason: str = ""
    candidate_retried: bool = False
    """It has failed, but will be tried again without being asked for."""
    hard_failure: str = ""
    """Why the version must go at once; empty while there is no reason."""
    gates: Mapping[str, bool] = {}
    """Answers of webhooks by the key of the question; absent while unasked or unanswered."""
    registry_written: bool = False
    """The last `WriteRegistry` of this rollout was carried out."""
    registry_trouble: str = ""
    """Why it was not, when it was tried in vain."""
    monitor: Mapping[AnyCheck, Judgement] = {}
    """By check, what the monitor's counts say of predictions and labels."""


NOTHING: Final = Counters()


def since(now: Counters, origin: Counters) -> Counters:
    """What was counted after `origin`."""
    return Counters(
        tuple(_arm_since(arm, origin.arm(arm.variant, arm.version)) for arm in now.arms),
        {version: max(0, n - origin.nonfinite.get(version, 0)) for version, n in now.nonfinite.items()},
        {
            version: (
                max(0, total - origin.comparisons.get(version, (0, 0))[0]),
                max(0, differ - origin.comparisons.get(version, (0, 0))[1]),
            )
            for version, (total, differ) in now.comparisons.items()
        },
        {version: _less(outcomes, origin.copies.get(version, {})) for version, outcomes in now.copies.items()},
    )


def _arm_since(now: ArmCounters, origin: ArmCounters) -> ArmCounters:
    before = origin.durations if origin.bounds == now.bounds else (0,) * len(now.durations)
    return ArmCounters(
        now.variant,
        now.version,
        _less(now.outcomes, origin.outcomes),
        _less(now.directed, origin.directed),
        now.bounds,
        tuple(max(0, n - m) for n, m in zip(now.durations, before, strict=True)),
    )


def _less(now: Mapping[str, int], origin: Mapping[str, int]) -> dict[str, int]:
    return {outcome: max(0, n - origin.get(outcome, 0)) for outcome, n in now.items()}
