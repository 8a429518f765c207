"""A rollout in a world of dice: the real core under a virtual clock, with arms that fail as often as one likes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from router.policy.document import Policy, parse_policy, to_document
from router.policy.plan import Plan
from router.policy.shares import WHOLE_BP
from router.rollout.advance import advance
from router.rollout.evidence import ArmCounters, Counters, Observation, since
from router.rollout.hard_failure import Suspicion, watch
from router.rollout.rollout import Rollout, begin
from router.rollout.writes import SetPolicy, WriteRegistry
from serving.telemetry.catalog import REQUEST_DURATION

MODEL, OLD, NEW = "flights", 3, 4
BOUNDS = REQUEST_DURATION.bounds
EPOCH_S = 1_700_000_000.0


def base_policy(**more: Any) -> Policy:
    """All traffic on the old version."""
    return parse_policy({"model": MODEL, "variants": [{"name": "stable", "version": OLD, "weight": 10_000}], **more})


def started(plan: Plan | None = None, policy: Policy | None = None, *, revision: int = 1) -> Rollout:
    """A rollout of the new version that has moved nothing yet."""
    return begin(
        id="r1",
        version=NEW,
        plan=plan or Plan(),
        policy=policy or base_policy(),
        policy_revision=revision,
        actor="ada",
        reason="a better model",
        now=EPOCH_S,
    )


@dataclass
class World:
    """Traffic, a policy and a clock; `turn` is what the controller does at each of its looks."""

    plan: Plan
    seed: int
    rate: float = 100.0
    """Requests per second."""
    old_errors: float = 0.01
    new_errors: float = 0.01
    new_slowness: float = 1.0
    """Factor on the new version's durations."""
    tick_s: float = 1.0
    watches_hard_failures: bool = True
    rollout: Rollout = field(init=False)
    now: float = EPOCH_S
    policy: Policy = field(default_factory=base_policy)
    revision: int = 1
    state: str = "ready"
    """Of the new version; while it is `failed`, it is tried again."""
    registry_written: bool = False
    requests: int = 0
    """Answered by the new version, at whatever weight."""
    weights: list[int] = field(default_factory=list)
    """The new version's weight, after each change."""

    def __post_init__(self) -> None:
        self.rollout = started(self.plan, self.policy)
        self._random = np.random.default_rng(self.seed)
        self._outcomes: dict[tuple[str, int], list[int]] = {}
        self._durations: dict[tuple[str, int], np.ndarray[Any, Any]] = {}
        self._compared: dict[int, int] = {}
        self._suspicion = Suspicion()
        self._before = Counters()

    def run(self, limit_s: float = 86_400.0) -> Rollout:
        """Go on until the rollout is over, or time is."""
        end = self.now + limit_s
        while not self.rollout.is_over and self.now < end:
            self.serve()
            self.turn()
            self.now += self.tick_s
        return self.rollout

    def serve(self) -> None:
        """Let one tick of requests be answered by the policy in force, and copied to its shadows."""
        for shadow in self.policy.shadows:
            self._compared[shadow.version] = self._compared.get(shadow.version, 0) + round(self.rate * self.tick_s)
        arms = [variant for variant in self.policy.variants if variant.weight]
        sent = self._random.multinomial(
            self._random.poisson(self.rate * self.tick_s), [a.weight / WHOLE_BP for a in arms]
        )
        for arm, n in zip(arms, sent, strict=True):
            is_new = arm.version == NEW
            failed = int(self._random.binomial(n, self.new_errors if is_new else self.old_errors))
            seconds = self._random.lognormal(np.log(0.002), 0.5, n) * (self.new_slowness if is_new else 1.0)
            key = (arm.name, arm.version)
            counts = self._outcomes.setdefault(key, [0, 0])
            counts[0] += int(n) - failed
            counts[1] += failed
            hist = np.bincount(np.searchsorted(BOUNDS, seconds), minlength=len(BOUNDS) + 1)
            self._durations[key] = self._durations.get(key, 0) + hist
            self.requests += int(n) if is_new else 0

    def counters(self) -> Counters:
        """What the routers would have published."""
        return Counters(
            tuple(
                ArmCounters(*key, {"ok": ok, "model_failed": failed}, {}, BOUNDS, tuple(map(int, self._durations[key])))
                for key, (ok, failed) in self._outcomes.items()
            ),
            comparisons={version: (n, 0) for version, n in self._compared.items()},
        )

    def turn(self) -> None:
        """Look, decide, act."""
        counters = self.counters()
        observed = Observation(
            self.policy,
            self.revision,
            counters,
            candidate_state=self.state,
            candidate_retried=self.state == "failed",
            hard_failure=self._judge_hard(counters),
            registry_written=self.registry_written,
        )
        turn = advance(self.rollout, observed, self.now)
        self.rollout = turn.rollout
        for command in turn.commands:
            if isinstance(command, SetPolicy):
                self.write(command)
            elif isinstance(command, WriteRegistry):
                self.registry_written = True

    def write(self, command: SetPolicy) -> None:
        """Compare and set."""
        if command.write.expected_revision == self.revision:
            self.policy, self.revision = parse_policy(to_document(command.write.policy)), self.revision + 1
            self.weights.append(sum(v.weight for v in self.policy.variants if v.version == NEW))

    def _judge_hard(self, counters: Counters) -> str:
        if not self.watches_hard_failures:
            return ""
        seen = since(counters, self._before).failures_of({NEW})
        reference = counters.failures_of({OLD})
        self._before = counters
        self._suspicion = watch(self._suspicion, seen, reference)
        return self._suspicion.words if self._suspicion.is_alarm else ""


def rises(weights: list[int]) -> bool:
    """Tell whether each weight is above the one before it."""
    return all(before < after for before, after in pairwise(weights))


def at(rollout: Rollout, **changes: Any) -> Rollout:
    """A rollout in another state."""
    return msgspec.structs.replace(rollout, **changes)


__all__ = ["World", "at", "base_policy", "rises", "started"]
