"""The writes of a rollout: decided, commanded until they are in force, rebased, or given up to somebody else. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from router.policy.document import Policy
from router.policy.plan import ShadowStage
from router.policy.shares import WHOLE_BP
from router.rollout.evidence import Judgement, Observation
from router.rollout.phase import EXPOSED, Event, Phase
from router.rollout.rollout import CHAMPION, PolicyWrite, Rollout, move
from router.rollout.split import (
    CONTROL,
    Roles,
    at_step,
    cast,
    mirrored,
    promoted,
    restored,
    same_split,
    shadow_of,
    share_of,
    unmirrored,
)
from serving.protocol.errors import ServingError

_BEFORE_A_SHARE: Final = frozenset({Phase.PENDING, Phase.SHADOWING})


class SetPolicy(NamedTuple):
    """Write a policy if the revision that it was made from still stands."""

    write: PolicyWrite
    reason: str


class LoadVersion(NamedTuple):
    """Make the version ready; no answer is waited for."""

    version: int


class KeepTrying(NamedTuple):
    """Go on loading the version, which will be tried again, as if a policy named it."""

    version: int


class AskGates(NamedTuple):
    """Ask every webhook of a kind; the answer comes with a later observation, under `key`."""

    kind: str
    key: str


class WriteRegistry(NamedTuple):
    """Let the alias point to the version and write where it came from."""

    version: int


Command = SetPolicy | LoadVersion | KeepTrying | AskGates | WriteRegistry


class Turn(NamedTuple):
    """The outcome of one look."""

    rollout: Rollout
    """The same object when nothing is to be stored."""
    commands: tuple[Command, ...] = ()
    findings: tuple[Judgement, ...] = ()
    """What the checks say now; of their own interest, and stored with the next change of phase or step."""


def go_to_step(rollout: Rollout, step: int, policy: Policy, now: float, words: str) -> Turn:
    """Give the version the share of a step; all of the split when the plan's step is that."""
    share_bp = rollout.plan.steps[step] if step < len(rollout.plan.steps) else WHOLE_BP
    onward = Event.BEGIN if rollout.phase in _BEFORE_A_SHARE else Event.ADVANCE
    event = Event.FINISH if share_bp == WHOLE_BP else onward
    write = _forward(rollout, share_bp, policy, rollout.policy_revision)
    moved = move(rollout, event, now, words, step=step, write=write, step_origin=None)
    return Turn(moved, (SetPolicy(write, words),))


def go_to_shadow(rollout: Rollout, stage: ShadowStage, policy: Policy, now: float, words: str) -> Turn:
    """Copy traffic to the version before it gets any."""
    write = PolicyWrite("shadow", mirrored(policy, rollout.version, stage), rollout.policy_revision)
    return Turn(move(rollout, Event.MIRROR, now, words, write=write, step_origin=None), (SetPolicy(write, words),))


def give_back(rollout: Rollout, event: Event, policy: Policy, now: float, words: str) -> Turn:
    """Return the traffic to what it was, or end at once when none was moved."""
    if rollout.phase is Phase.PENDING:
        return Turn(move(rollout, event, now, words))
    write = PolicyWrite("restore", _before(rollout, policy), rollout.policy_revision)
    return Turn(move(rollout, event, now, words, write=write), (SetPolicy(write, words),))


def follow_write(rollout: Rollout, write: PolicyWrite, observed: Observation, now: float) -> Turn:
    """See whether a write is in force; repeat it, rebase it, or make way for whoever moved the traffic."""
    policy, revision = observed.policy, observed.policy_revision
    if policy is None:
        return Turn(move(rollout, Event.SUPERSEDE, now, "the model's policy was removed"))
    if revision != write.expected_revision and _is_in_force(rollout, write, policy):
        return _landed(rollout, write, policy, revision, now)
    failure = hard_failure_of(rollout, observed) if write.kind != "restore" else ""
    if failure:
        clear = msgspec.structs.replace(rollout, write=None, policy_revision=revision)
        return give_back(clear, Event.FAIL, policy, now, failure)
    if revision == write.expected_revision:
        return Turn(rollout, (SetPolicy(write, rollout.words),))
    if write.kind == "restore" and _has_nothing_of(rollout, policy, write):
        return _landed(rollout, write, policy, revision, now)
    if write.kind != "restore":
        taken = _taken_over(rollout, policy, revision)
        if taken:
            return _superseded(rollout, policy, revision, now, taken)
        rollout = msgspec.structs.replace(rollout, roles=_roles_in(rollout, policy))
    return _rebased(rollout, write, policy, revision)


def _rebased(rollout: Rollout, write: PolicyWrite, policy: Policy, revision: int) -> Turn:
    """Make the write anew on a revision that left the split alone, or that a rollback must overrule."""
    if write.kind == "restore":
        again = PolicyWrite("restore", _before(rollout, policy), revision)
    elif write.kind == "shadow" and rollout.plan.shadow is not None:
        again = PolicyWrite("shadow", mirrored(policy, rollout.version, rollout.plan.shadow), revision)
    else:
        share_bp = WHOLE_BP if write.kind == "promote" else rollout.plan.steps[rollout.step]
        again = _forward(rollout, share_bp, policy, revision)
    changed = msgspec.structs.replace(rollout, write=again, policy_revision=revision)
    return Turn(changed, (SetPolicy(again, rollout.words),))


def _forward(rollout: Rollout, share_bp: int, policy: Policy, revision: int) -> PolicyWrite:
    """Make the write that brings the version to a share."""
    roles, version = rollout.roles, rollout.version
    if share_bp == WHOLE_BP:
        aliases = (CHAMPION, rollout.alias)
        wanted = promoted(policy, roles=roles, version=version, salt=rollout.good.salt, aliases=aliases)
        return PolicyWrite("promote", wanted, revision)
    if rollout.plan.shadow is not None:
        policy = unmirrored(policy, rollout.good, version)
    wanted = at_step(policy, roles=roles, version=version, step_bp=share_bp, salt=rollout.id)
    return PolicyWrite("step", wanted, revision)


def _before(rollout: Rollout, policy: Policy) -> Policy:
    """Make the policy that gives everything back; a split that leaves the version out already stays as it is."""
    back = restored(policy, rollout.good) if share_of(policy, rollout.version) else policy
    return back if rollout.plan.shadow is None else unmirrored(back, rollout.good, rollout.version)


def _is_in_force(rollout: Rollout, write: PolicyWrite, policy: Policy) -> bool:
    """Tell whether a policy is what was to be written, as far as this rollout is concerned."""
    is_about_shadow = write.kind == "shadow" or (write.kind == "restore" and rollout.plan.shadow is not None)
    if is_about_shadow and not _same_shadow(rollout, policy, write):
        return False
    return same_split(policy, write.policy)


def _has_nothing_of(rollout: Rollout, policy: Policy, write: PolicyWrite) -> bool:
    """Tell whether somebody else gave back what a rollout took: its share, and the shadow that it began as."""
    is_freed = rollout.plan.shadow is None or _same_shadow(rollout, policy, write)
    return is_freed and not share_of(policy, rollout.version)


def _same_shadow(rollout: Rollout, policy: Policy, write: PolicyWrite) -> bool:
    return shadow_of(policy, rollout.version) == shadow_of(write.policy, rollout.version)


def _landed(rollout: Rollout, write: PolicyWrite, policy: Policy, revision: int, now: float) -> Turn:
    """Take a write as done: the step's clock starts, or the phase ends."""
    done = msgspec.structs.replace(rollout, write=None, policy_revision=revision, stands=policy)
    if write.kind in {"shadow", "step"}:
        return Turn(msgspec.structs.replace(done, served_s=0.0, seen_at=now))
    words = "all traffic is on the version" if write.kind == "promote" else rollout.words
    return Turn(move(done, Event.LAND, now, words))


def adopt(rollout: Rollout, policy: Policy, revision: int, now: float) -> Turn:
    """Accept a revision that left the split alone, and give way to one that did not."""
    taken = _taken_over(rollout, policy, revision)
    if not taken and rollout.phase is Phase.SHADOWING and shadow_of(policy, rollout.version) is None:
        taken = f"revision {revision} removed the shadow by hand"
    if taken:
        return _superseded(rollout, policy, revision, now, taken)
    roles = _roles_in(rollout, policy)
    return Turn(msgspec.structs.replace(rollout, policy_revision=revision, stands=policy, roles=roles))


def _taken_over(rollout: Rollout, policy: Policy, revision: int) -> str:
    """Say how somebody else's revision leaves this rollout no place; empty when it does not."""
    if not same_split(policy, rollout.stands):
        return f"revision {revision} moved the traffic by hand"
    try:
        _roles_in(rollout, policy)
    except ServingError as error:
        return f"revision {revision} leaves it no place: {error.message}"
    return ""


def _roles_in(rollout: Rollout, policy: Policy) -> Roles:
    """Find the rollout's variants; raises `ServingError` when somebody else has taken a name of theirs.

    Until the first step is in force the names are free, also for a variant without weight.
    """
    is_at_a_step = any(variant.name == CONTROL for variant in rollout.stands.variants)
    return rollout.roles if is_at_a_step or rollout.phase is Phase.BAKING else cast(policy, rollout.version)


def _superseded(rollout: Rollout, policy: Policy, revision: int, now: float, words: str) -> Turn:
    """Leave the traffic where somebody else put it."""
    return Turn(move(rollout, Event.SUPERSEDE, now, words, stands=policy, policy_revision=revision))


def hard_failure_of(rollout: Rollout, observed: Observation) -> str:
    """Say why the version must go at once; empty while there is no reason."""
    if rollout.phase in EXPOSED and observed.hard_failure:
        return f"version {rollout.version} {observed.hard_failure}"
    # Without a share it can wait for an attempt that is to come: a registry that is away is no fault of the version.
    can_wait = observed.candidate_retried and rollout.phase not in EXPOSED
    if observed.candidate_state == "failed" and not can_wait and rollout.phase in _BEFORE_A_SHARE | EXPOSED:
        return f"version {rollout.version} does not load: {observed.candidate_reason}"
    return ""
