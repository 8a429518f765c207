"""What is known of a rollout at one moment: the counters of its arms and the state of its surroundings. Pure.

Counters are totals since the gateway began; evidence is the difference of two of them. A total below an earlier one
means that the counting began anew, and differs from it by nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from router.analysis.counts import Counts, Histogram
from router.analysis.verdict import Verdict
from router.policy.document import Policy
from router.policy.plan import AnyCheck
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

        Whatever is not `ok` counts as failed, also a client's own mistake: mistakes hit both arms alike, and only a
        model with another signature makes them its own.
        """
        mine = {outcome: max(0, n - self.directed.get(outcome, 0)) for outcome, n in self.outcomes.items()}
        total = sum(mine.values())
        return Counts(total, total - mine.get(OK, 0))

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

    def failures_of(self, versions: Iterable[int]) -> Counts:
        """Count answers of versions that failed hard: not `ok`, or not a number."""
        total, failed = self.answered_and_failed(versions)
        return Counts(total, min(total, failed))

    def answered_and_failed(self, versions: Iterable[int]) -> tuple[int, int]:
        """Count answers, and failures among them and in rows: of these there may be more than answers.

        A request may hold many rows; and rows are counted by replicas, whose files may be ahead of the routers'.
        """
        wanted = set(versions)
        mine = [arm for arm in self.arms if arm.version in wanted]
        total = sum(arm.answered for arm in mine)
        failed = total - sum(arm.outcomes.get(OK, 0) for arm in mine)
        return total, failed + sum(self.nonfinite.get(version, 0) for version in wanted)


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
    hard_failure: str = ""
    """Why the version must go at once; empty while there is no reason."""
    gates: Mapping[str, bool] = {}
    """Answers of webhooks by the key of the question; absent while unasked or unanswered."""
    registry_written: bool = False
    """The last `WriteRegistry` of this rollout was carried out."""
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
