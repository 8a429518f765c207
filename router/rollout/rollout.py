"""A rollout as it is kept: what was asked for, where it stands, and the write that is under way. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from router.policy.actors import ROLLOUT_PREFIX
from router.policy.document import Policy
from router.policy.plan import Plan
from router.policy.shares import WHOLE_BP
from router.rollout.evidence import Counters, Judgement
from router.rollout.phase import TERMINAL, Event, Phase, next_phase
from router.rollout.split import Roles, at_step, cast, mirrored, share_of
from serving.protocol.errors import invalid

#: The alias that follows promotions.
CHAMPION = "champion"
#: Moments kept of one rollout; the oldest go.
KEPT_MOMENTS = 100


class Moment(msgspec.Struct, frozen=True):
    """A change of phase or step."""

    at: float
    """Unix seconds."""
    phase: Phase
    share_bp: int
    words: str


class PolicyWrite(msgspec.Struct, frozen=True):
    """A policy that must come into force: decided, stored, and repeated until it is seen there."""

    kind: Literal["shadow", "step", "promote", "restore"]
    policy: Policy
    expected_revision: int
    """The write is void unless this revision stands: that makes repeating it harmless."""


class Rollout(msgspec.Struct, frozen=True):
    """One version's way to a model's traffic."""

    id: str
    model: str
    version: int
    stable_version: int
    plan: Plan
    actor: str
    reason: str
    created_at: float
    good: Policy
    """What to go back to."""
    good_revision: int
    stands: Policy
    """The policy that this rollout last put, or found, in force; whoever changes its split takes over."""
    policy_revision: int
    """Its revision."""
    roles: Roles
    alias: str = ""
    """Whose move in the registry began it; empty when somebody did."""
    incident: str = ""
    """That the version was trained for; empty for none."""
    phase: Phase = Phase.PENDING
    step: int = -1
    """Position in the plan's steps; -1 before the first."""
    words: str = ""
    """Why it stands where it does."""
    write: PolicyWrite | None = None
    origin: Counters | None = None
    """Counters when the first share of traffic was in force: evidence gathers over all steps from there."""
    step_origin: Counters | None = None
    """The same for this step."""
    compared_before: tuple[int, int] = (0, 0)
    """Answers as a shadow that were compared before this rollout's own shadow began, and how many disagreed."""
    served_s: float = 0.0
    """Time at this step, or of baking, that has been accounted for."""
    seen_at: float = 0.0
    """Until when it has; Unix seconds."""
    registry_written: bool = False
    ended_at: float = 0.0
    findings: tuple[Judgement, ...] = ()
    """The checks at the last change of phase or step."""
    moments: tuple[Moment, ...] = ()
    revision: int = 0
    """Of this record; the store counts it."""

    @property
    def is_over(self) -> bool:
        """Nothing will change it any more."""
        return self.phase in TERMINAL

    @property
    def share_bp(self) -> int:
        """The version's share of the split by the plan, whether in force yet or not."""
        if self.phase in {Phase.PROMOTING, Phase.BAKING, Phase.SUCCEEDED}:
            return WHOLE_BP
        if self.step < 0 or self.phase in {Phase.ROLLING_BACK, Phase.ABORTING, Phase.FAILED, Phase.ABORTED}:
            return 0
        if self.phase is Phase.SUPERSEDED:
            return share_of(self.stands, self.version)
        return self.plan.steps[self.step]

    @property
    def writer(self) -> str:
        """Its name in the audit log."""
        return ROLLOUT_PREFIX + self.id


def begin(
    *,
    id: str,  # noqa: A002 - the field's name
    version: int,
    plan: Plan,
    policy: Policy,
    policy_revision: int,
    actor: str,
    reason: str,
    now: float,
    alias: str = "",
    incident: str = "",
) -> Rollout:
    """Make a rollout that has moved nothing yet.

    Raises:
        ServingError: INVALID, the policy cannot take this rollout; names the field.
    """
    roles = cast(policy, version)
    variants = {variant.name: variant for variant in policy.variants}
    held = variants[roles.candidate].weight if roles.candidate in variants else 0
    if plan.steps[0] < held:
        raise invalid(f"steps[0]: version {version} has {held} basis points already, more than {plan.steps[0]}")
    # To be refused now rather than later.
    if plan.shadow is not None:
        mirrored(policy, version, plan.shadow)
    if plan.steps[0] < WHOLE_BP:
        at_step(policy, roles=roles, version=version, step_bp=plan.steps[0], salt=id)
    rollout = Rollout(
        id=id,
        model=policy.model,
        version=version,
        stable_version=variants[roles.base].version,
        plan=plan,
        actor=actor,
        reason=reason,
        created_at=now,
        good=policy,
        good_revision=policy_revision,
        stands=policy,
        policy_revision=policy_revision,
        roles=roles,
        alias=alias,
        incident=incident,
        seen_at=now,
    )
    return note(rollout, now, f"started by {actor}: {reason}")


def move(rollout: Rollout, event: Event, now: float, words: str, **changes: object) -> Rollout:
    """Follow an event to the next phase, with further changes of the record.

    Raises:
        ServingError: INVALID, the event has no place in this phase.
    """
    phase = next_phase(rollout.phase, event)
    moved = msgspec.structs.replace(rollout, phase=phase, served_s=0.0, seen_at=now, **changes)
    if moved.is_over:
        moved = msgspec.structs.replace(moved, ended_at=now, write=None)
    return note(moved, now, words)


def note(rollout: Rollout, now: float, words: str) -> Rollout:
    """Write down what happened."""
    moment = Moment(now, rollout.phase, rollout.share_bp, words)
    return msgspec.structs.replace(rollout, words=words, moments=(*rollout.moments, moment)[-KEPT_MOMENTS:])
