"""The ladder: what is known about a version becomes one incident that only climbs, and the acts it calls for. Pure.

| evidence, worst of drift, labels and estimate | no incident | incident of lower severity | same or higher severity |
|---|---|---|---|
| ok | nothing | one more clean; the last of `clean_to_resolve` in a row resolves | the same |
| warning, critical, emergency | open | escalate | stays; not clean |

An incident has one id from its opening to its resolution, and its severity never falls before that. Reaching
`retrain_at` asks for a retraining, once per incident and not within `retrain_cool_down_s` of the last. Evidence of an
emergency rolls back, once per incident, unless something stands against it: a manual hold, no clients to take back, no
healthy version to go to, the cool-down after the last rollback. Then it is withheld, said once per reason, and done as
soon as the reason is gone and the evidence still holds.

An incident is also resolved when no request reaches the version any more, after its own rollback for one: see `retire`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, NamedTuple

import msgspec

from router.performance.severity import Severity

#: Why an incident is resolved.
CLEAN: Final = "nothing speaks against the version any more"
NOT_REACHED: Final = "the version no longer gets requests"

Seconds = Annotated[float, msgspec.Meta(ge=0)]


class LadderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When to act, and when not to again."""

    clean_to_resolve: Annotated[int, msgspec.Meta(ge=1)] = 3
    """Evaluations in a row without any evidence."""
    retrain_at: Severity = Severity.CRITICAL
    retrain_cool_down_s: Seconds = 24 * 3600.0
    rollback: bool = True
    """False: an emergency only tells people."""
    rollback_cool_down_s: Seconds = 3600.0


class Evidence(NamedTuple):
    """What is known at one evaluation."""

    at: float
    """Unix seconds."""
    drift: bool = False
    """The data or the predictions are under alarm, or a fault in the data was found."""
    labelled: Severity = Severity.OK
    """By labels."""
    estimated: Severity = Severity.OK
    """Without labels; counts for no more than `CRITICAL`."""
    rollback_target: int | None = None
    """A healthy version to go back to."""
    serving: bool = True
    """The version answers clients; a shadow does not, and has nothing to go back from."""

    @property
    def severity(self) -> Severity:
        """The worst of all."""
        return max(
            Severity.WARNING if self.drift else Severity.OK,
            self.labelled,
            min(self.estimated, Severity.CRITICAL),
        )


class LadderState(msgspec.Struct, frozen=True):
    """Where a version stands."""

    severity: Severity = Severity.OK
    incident: str = ""
    """Empty when there is none."""
    opened_at: float = 0.0
    opened: int = 0
    """Incidents so far."""
    clean: int = 0
    held: bool = False
    """An operator has forbidden rollbacks; stays until lifted, through incidents."""
    rolled_back: bool = False
    """In this incident."""
    last_rollback_at: float | None = None
    last_retrain_at: float | None = None
    retrained: bool = False
    """In this incident."""
    withheld: str = ""
    """Why the rollback that is due was not done."""


class Act(StrEnum):
    """What the shell has to do."""

    OPEN = "open"
    ESCALATE = "escalate"
    RESOLVE = "resolve"
    RETRAIN = "retrain"
    ROLL_BACK = "roll_back"
    WITHHOLD = "withhold"
    """Tell people why the rollback that is due is not done."""


class Command(NamedTuple):
    """An act on an incident, to be done once: the pair is a key to de-duplicate by."""

    act: Act
    incident: str
    severity: Severity
    at: float
    version: int | None = None
    """Of `ROLL_BACK`: where to."""
    reason: str = ""
    """Of `WITHHOLD` and `RESOLVE`."""


def advance(
    state: LadderState, evidence: Evidence, settings: LadderSettings, scope: str
) -> tuple[LadderState, tuple[Command, ...]]:
    """Take one evaluation; return where the version stands then, and what to do, in this order.

    Args:
        state: what the last call returned.
        evidence: what is known now.
        settings: when to act.
        scope: names the version, such as `flights/3`; incidents are `<scope>/<number>`, so an evaluation repeated after
            a crash gives the same id.
    """
    found = evidence.severity
    if found is Severity.OK:
        return _calm(state, evidence.at, settings)
    commands: list[Command] = []
    if not state.incident:
        state = msgspec.structs.replace(
            state,
            severity=found,
            incident=f"{scope}/{state.opened + 1}",
            opened_at=evidence.at,
            opened=state.opened + 1,
        )
        commands.append(Command(Act.OPEN, state.incident, found, evidence.at))
    elif found > state.severity:
        state = msgspec.structs.replace(state, severity=found)
        commands.append(Command(Act.ESCALATE, state.incident, found, evidence.at))
    state = msgspec.structs.replace(state, clean=0)
    state, more = _retrain(state, evidence, settings)
    state, last = _roll_back(state, evidence, settings)
    return state, (*commands, *more, *last)


def retire(state: LadderState, at: float) -> tuple[LadderState, tuple[Command, ...]]:
    """End the incident of a version that no request reaches: nothing it did is being done any more."""
    return _resolve(state, at, NOT_REACHED) if state.incident else (state, ())


def hold(state: LadderState, *, held: bool) -> LadderState:
    """Forbid rollbacks, or allow them again."""
    return msgspec.structs.replace(state, held=held)


def _calm(state: LadderState, at: float, settings: LadderSettings) -> tuple[LadderState, tuple[Command, ...]]:
    if not state.incident:
        return state, ()
    if state.clean + 1 < settings.clean_to_resolve:
        return msgspec.structs.replace(state, clean=state.clean + 1), ()
    return _resolve(state, at, CLEAN)


def _resolve(state: LadderState, at: float, reason: str) -> tuple[LadderState, tuple[Command, ...]]:
    resolved = LadderState(
        opened=state.opened,
        held=state.held,
        last_rollback_at=state.last_rollback_at,
        last_retrain_at=state.last_retrain_at,
    )
    return resolved, (Command(Act.RESOLVE, state.incident, state.severity, at, reason=reason),)


def _retrain(
    state: LadderState, evidence: Evidence, settings: LadderSettings
) -> tuple[LadderState, tuple[Command, ...]]:
    if state.retrained or state.severity < settings.retrain_at:
        return state, ()
    if _within(state.last_retrain_at, evidence.at, settings.retrain_cool_down_s):
        return state, ()
    state = msgspec.structs.replace(state, retrained=True, last_retrain_at=evidence.at)
    return state, (Command(Act.RETRAIN, state.incident, state.severity, evidence.at),)


def _roll_back(
    state: LadderState, evidence: Evidence, settings: LadderSettings
) -> tuple[LadderState, tuple[Command, ...]]:
    if state.rolled_back or evidence.severity < Severity.EMERGENCY:
        return state, ()
    reason = _objection(state, evidence, settings)
    if not reason:
        state = msgspec.structs.replace(state, rolled_back=True, last_rollback_at=evidence.at, withheld="")
        command = Command(Act.ROLL_BACK, state.incident, state.severity, evidence.at, evidence.rollback_target)
        return state, (command,)
    if reason == state.withheld:
        return state, ()
    state = msgspec.structs.replace(state, withheld=reason)
    return state, (Command(Act.WITHHOLD, state.incident, state.severity, evidence.at, reason=reason),)


def _objection(state: LadderState, evidence: Evidence, settings: LadderSettings) -> str:
    if not settings.rollback:
        return "automatic rollback is off"
    if state.held:
        return "held by an operator"
    if evidence.rollback_target is None:
        return "no healthy version to go back to" if evidence.serving else "the version answers no clients"
    if _within(state.last_rollback_at, evidence.at, settings.rollback_cool_down_s):
        return "cooling down after the last rollback"
    return ""


def _within(last: float | None, at: float, span_s: float) -> bool:
    return last is not None and at - last < span_s
