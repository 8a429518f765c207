"""The phases of a rollout and every way from one to another: a table, from which docs/rollout-phases.md is drawn. Pure.

Whatever changes a phase goes through `next_phase`, so what is not in the table cannot happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from serving.protocol.errors import invalid


class Phase(StrEnum):
    """Where a rollout stands."""

    PENDING = "pending"
    """Waits for its time, for its version to be ready, for a confirmation. Traffic is as before."""
    SHADOWING = "shadowing"
    """Gets copies of the traffic, whose answers nobody waits for."""
    PROGRESSING = "progressing"
    """At a step, gathering what the plan asks for."""
    HOLDING = "holding"
    """The step has had its time and requests, but a check cannot tell yet, or the plan ends here: stays."""
    PAUSED = "paused"
    """An operator stopped it at its step. Hard failures still roll back."""
    PROMOTING = "promoting"
    """All traffic is being given to the version."""
    BAKING = "baking"
    """The version has all traffic and takes over in the registry; the old one is warm, and hard failures roll back."""
    ROLLING_BACK = "rolling_back"
    """Traffic is being given back, because the version failed."""
    ABORTING = "aborting"
    """Traffic is being given back, because an operator said so."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Traffic is as it was before."""
    ABORTED = "aborted"
    """Traffic is as it was before."""
    SUPERSEDED = "superseded"
    """Somebody else moved the traffic: it stays where they put it."""


class Event(StrEnum):
    """What moves a rollout on."""

    MIRROR = "mirror"
    """Its time has come and its version is ready; the plan has it begin as a shadow."""
    BEGIN = "begin"
    """The version gets its first share."""
    ADVANCE = "advance"
    """The step is passed, by evidence or by an operator's word."""
    HOLD = "hold"
    """No verdict yet where one is due."""
    FINISH = "finish"
    """The next step is all of the traffic."""
    LAND = "land"
    """The policy that this phase writes is in force."""
    BAKE = "bake"
    """Nothing has gone wrong for long enough."""
    FAIL = "fail"
    """A check failed, or the version fails hard."""
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    SUPERSEDE = "supersede"
    """The policy is not what this rollout made it."""


_GIVEN_UP: Final = {
    Event.FAIL: Phase.ROLLING_BACK,
    Event.ABORT: Phase.ABORTING,
    Event.SUPERSEDE: Phase.SUPERSEDED,
}
_AT_A_STEP: Final = {Event.ADVANCE: Phase.PROGRESSING, Event.FINISH: Phase.PROMOTING, **_GIVEN_UP}

TRANSITIONS: Final[Mapping[Phase, Mapping[Event, Phase]]] = {
    Phase.PENDING: {
        Event.BEGIN: Phase.PROGRESSING,
        Event.MIRROR: Phase.SHADOWING,
        Event.FINISH: Phase.PROMOTING,
        Event.FAIL: Phase.FAILED,
        Event.ABORT: Phase.ABORTED,
        Event.SUPERSEDE: Phase.SUPERSEDED,
    },
    Phase.SHADOWING: {Event.BEGIN: Phase.PROGRESSING, Event.FINISH: Phase.PROMOTING, **_GIVEN_UP},
    Phase.PROGRESSING: {Event.HOLD: Phase.HOLDING, Event.PAUSE: Phase.PAUSED, **_AT_A_STEP},
    Phase.HOLDING: {Event.PAUSE: Phase.PAUSED, **_AT_A_STEP},
    Phase.PAUSED: {Event.RESUME: Phase.PROGRESSING, **_AT_A_STEP},
    Phase.PROMOTING: {Event.LAND: Phase.BAKING, **_GIVEN_UP},
    Phase.BAKING: {Event.BAKE: Phase.SUCCEEDED, **_GIVEN_UP},
    Phase.ROLLING_BACK: {Event.LAND: Phase.FAILED, Event.SUPERSEDE: Phase.SUPERSEDED},
    Phase.ABORTING: {Event.LAND: Phase.ABORTED, Event.SUPERSEDE: Phase.SUPERSEDED},
    Phase.SUCCEEDED: {},
    Phase.FAILED: {},
    Phase.ABORTED: {},
    Phase.SUPERSEDED: {},
}

#: Phases that nothing leaves.
TERMINAL: Final = frozenset(phase for phase, ways in TRANSITIONS.items() if not ways)
#: Phases in which the version has a share of the traffic and can fail hard.
EXPOSED: Final = frozenset({Phase.PROGRESSING, Phase.HOLDING, Phase.PAUSED, Phase.PROMOTING, Phase.BAKING})


def next_phase(phase: Phase, event: Event) -> Phase:
    """Follow the table.

    Raises:
        ServingError: INVALID, the event has no place in this phase; says which have.
    """
    ways = TRANSITIONS[phase]
    if event not in ways:
        able = ", ".join(ways) or "nothing any more"
        raise invalid(f"a rollout that is {phase} cannot {event}; it can {able}")
    return ways[event]
