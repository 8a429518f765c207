"""What an operator may do to a rollout; the controller carries it out at its next turn. Pure."""

from __future__ import annotations

import msgspec

from router.policy.document import Policy
from router.rollout.phase import TRANSITIONS, Event, Phase
from router.rollout.rollout import Rollout, move
from router.rollout.writes import give_back, go_to_step
from serving.protocol.errors import invalid


def allowed(rollout: Rollout) -> tuple[str, ...]:
    """List the acts that have a place where a rollout stands."""
    ways = TRANSITIONS[rollout.phase]
    can_promote = Event.FINISH in ways and rollout.write is None
    places = {"pause": Event.PAUSE in ways, "resume": Event.RESUME in ways, "promote": can_promote}
    return tuple(act for act, has_place in (places | {"abort": Event.ABORT in ways}).items() if has_place)


def pause(rollout: Rollout, now: float, *, actor: str, reason: str) -> Rollout:
    """Stay at the step; raises `ServingError(INVALID)` where that makes no sense, as all acts do."""
    return move(rollout, Event.PAUSE, now, f"paused by {actor}: {reason}")


def resume(rollout: Rollout, now: float, *, actor: str, reason: str) -> Rollout:
    """Go on gathering at the step."""
    return move(rollout, Event.RESUME, now, f"resumed by {actor}: {reason}")


def promote(rollout: Rollout, policy: Policy, now: float, *, full: bool, actor: str, reason: str) -> Rollout:
    """Go to the next step without further evidence or confirmation, or with `full` to the last."""
    if rollout.write is not None:
        raise invalid(f"a rollout that is {rollout.phase} is moving traffic right now; try again")
    if rollout.phase in {Phase.PROMOTING, Phase.BAKING}:
        raise invalid(f"a rollout that is {rollout.phase} has no step left")
    step = len(rollout.plan.steps) if full else rollout.step + 1
    return go_to_step(rollout, step, policy, now, f"promoted by {actor}: {reason}").rollout


def abort(rollout: Rollout, policy: Policy, now: float, *, actor: str, reason: str) -> Rollout:
    """Give the traffic back, also in the middle of a write or of the time to bake."""
    return give_back(rollout, Event.ABORT, policy, now, f"aborted by {actor}: {reason}").rollout


def frozen_until(last: Rollout | None) -> float:
    """Tell when a model takes rollouts again (Unix seconds, 0 for at once): a failure is not repeated in a hurry."""
    if last is None or last.phase is not Phase.FAILED or last.step < 0:
        return 0.0
    return last.ended_at + last.plan.cool_down_s


def with_revision(rollout: Rollout, revision: int) -> Rollout:
    """Number a record; for stores."""
    return msgspec.structs.replace(rollout, revision=revision)
