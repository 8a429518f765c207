"""The phase table as a page with a diagram: `python -m router.rollout.diagram > docs/rollout-phases.md`. Pure."""

from __future__ import annotations

import sys
from typing import Final

from router.rollout.phase import TERMINAL, TRANSITIONS, Event, Phase

_HEAD = """\
<!-- Generated: python -m router.rollout.diagram > docs/rollout-phases.md -->
# Phases of a rollout

The controller uses the same table (`router/rollout/phase.py`), so no other transition is possible. What starts, pauses
and ends a rollout is in [Operations](operations.md).

```mermaid
stateDiagram-v2
    [*] --> pending
"""

_PHASES: Final = {
    Phase.PENDING: "waits for its start time, a ready version and a confirmation; traffic is unchanged",
    Phase.SHADOWING: "gets copies of requests; its answers are compared and not returned",
    Phase.PROGRESSING: "at a step, collecting what the plan requires",
    Phase.HOLDING: "the step has its time and requests, but a check is inconclusive or the plan ends here",
    Phase.PAUSED: "an operator paused it; hard failures still roll back",
    Phase.PROMOTING: "the version is being given all traffic",
    Phase.BAKING: "the version has all traffic; the old one stays warm, and hard failures roll back",
    Phase.ROLLING_BACK: "the version failed; the previous policy is being restored",
    Phase.ABORTING: "an operator aborted; the previous policy is being restored",
    Phase.SUCCEEDED: "the version has all traffic",
    Phase.FAILED: "the previous policy is in force",
    Phase.ABORTED: "the previous policy is in force",
    Phase.SUPERSEDED: "somebody else changed the split, which stays as it is",
}
_EVENTS: Final = {
    Event.MIRROR: "the version is ready, and the plan starts with a shadow",
    Event.BEGIN: "the version gets its first share",
    Event.ADVANCE: "the step has passed, or an operator promoted",
    Event.HOLD: "the step is due, and a check is inconclusive",
    Event.FINISH: "the next step is all of the traffic",
    Event.LAND: "the policy that the phase writes is in force",
    Event.BAKE: "no hard failure during `bake_s`",
    Event.FAIL: "a check failed, or the version fails hard",
    Event.PAUSE: "an operator paused",
    Event.RESUME: "an operator resumed",
    Event.ABORT: "an operator aborted",
    Event.SUPERSEDE: "the policy is no longer the one that the rollout wrote",
}


def render_page() -> str:
    """Return the page."""
    ways_on = [(phase, event, after) for phase, ways in TRANSITIONS.items() for event, after in ways.items()]
    arrows = [f"    {phase} --> {after}: {event}" for phase, event, after in ways_on]
    ends = [f"    {phase} --> [*]" for phase in TRANSITIONS if phase in TERMINAL]
    rows = [
        f"| `{phase}` | {_PHASES[phase]} | "
        + (", ".join(f"{event} → {after}" for event, after in ways.items()) or "none")
        for phase, ways in TRANSITIONS.items()
    ]
    phases = "\n".join(["| phase | meaning | transitions |", "|---|---|---|", *(f"{row} |" for row in rows)])
    events = "\n".join(["| event | meaning |", "|---|---|", *(f"| `{each}` | {_EVENTS[each]} |" for each in Event)])
    return _HEAD + "\n".join([*arrows, *ends]) + f"\n```\n\n{phases}\n\n{events}\n"


if __name__ == "__main__":
    sys.stdout.write(render_page())
