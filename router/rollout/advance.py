"""What a rollout does next: `advance(rollout, observed, now) -> (rollout, commands)`. Pure.

Theory of operation. The rollout is one stored record, changed by compare-and-set; the world is changed by commands. A
decision is stored first and acted upon after, and the acts are commands that may be repeated:

- a policy is written under the revision that it replaces, so of two writers, or of one that died and its successor,
  one write takes effect;
- as long as the record holds a write that is not seen in force, each turn commands it again and decides nothing else.

So at most one write follows from one state of the record, a controller killed anywhere resumes where the record says,
and no step is run twice.

Evidence gathers over the whole rollout: canary and control have the same size at each step, and one confidence sequence
for all of it keeps the risk of a false rollback at alpha however many steps there are. Only the plan's minima of
requests and time are counted per step.

Time is wall time, which may jump. It is accounted for in pieces of at most `MAX_TICK_S`, so a jump forward gives a step
no more than that, and one backward takes nothing.
"""

from __future__ import annotations

import contextlib
from typing import Final

import msgspec

from router.analysis.verdict import Verdict
from router.policy.plan import ShadowAgreement
from router.policy.shares import WHOLE_BP
from router.rollout.checks import judge_checks, judge_copies, judge_ratio, overall
from router.rollout.evidence import ArmCounters, Judgement, Observation, since
from router.rollout.phase import TRANSITIONS, Event, Phase
from router.rollout.rollout import Rollout, move
from router.rollout.split import CONTROL, shares_at
from router.rollout.writes import (
    AskGates,
    Command,
    KeepTrying,
    LoadVersion,
    Turn,
    WriteRegistry,
    adopt,
    follow_write,
    give_back,
    go_to_shadow,
    go_to_step,
    hard_failure_of,
)
from serving.protocol.errors import ServingError

#: What is said of a promotion that the registry could not be told of.
UNTOLD: Final = "but the registry does not know"
#: The most that one look adds to the time at a step.
MAX_TICK_S: Final = 10.0
#: How often accounted time is stored while nothing else changes.
ACCOUNT_EVERY_S: Final = 5.0
#: After a policy came into force: requests decided before are answered and published by then.
SETTLE_S: Final = 1.0


def advance(rollout: Rollout, observed: Observation, now: float) -> Turn:
    """Decide what a rollout does next. Total: every phase and observation has an answer, and terminal phases absorb."""
    if rollout.is_over:
        return Turn(rollout)
    try:
        return _decide(rollout, observed, now)
    except ServingError as error:
        return _end_without_write(rollout, observed, now, f"its next policy cannot be made: {error.message}")


def _decide(rollout: Rollout, observed: Observation, now: float) -> Turn:
    """See first to what comes from outside, then to what the phase is for."""
    if rollout.write is not None:
        return follow_write(rollout, rollout.write, observed, now)
    if observed.policy is None:
        return Turn(move(rollout, Event.SUPERSEDE, now, "the model's policy was removed"))
    if observed.policy_revision != rollout.policy_revision:
        return adopt(rollout, observed.policy, observed.policy_revision, now)
    failure = hard_failure_of(rollout, observed)
    if failure:
        return give_back(rollout, Event.FAIL, observed.policy, now, failure)
    return _go_on(rollout, observed, now)


def _end_without_write(rollout: Rollout, observed: Observation, now: float, words: str) -> Turn:
    """End a rollout that somebody's edit of the policy has left without a way on; also without a way back."""
    policy = observed.policy
    if policy is not None and Event.FAIL in TRANSITIONS[rollout.phase]:
        clear = msgspec.structs.replace(rollout, write=None, policy_revision=observed.policy_revision)
        with contextlib.suppress(ServingError):
            return give_back(clear, Event.FAIL, policy, now, words)
    return Turn(move(rollout, Event.SUPERSEDE, now, words))


def _go_on(rollout: Rollout, observed: Observation, now: float) -> Turn:
    """Do what the phase is for, when nothing from outside has a say first."""
    match rollout.phase:
        case Phase.PENDING:
            return _prepare(rollout, observed, now)
        case Phase.SHADOWING:
            return _try_as_shadow(_account(rollout, now), observed, now)
        case Phase.PROGRESSING | Phase.HOLDING:
            return _weigh(_account(rollout, now), observed, now)
        case Phase.BAKING:
            return _bake(_account(rollout, now), observed, now)
        case _:
            return Turn(rollout)


def _prepare(rollout: Rollout, observed: Observation, now: float) -> Turn:
    """Wait for the time, the version and the confirmation, in this order."""
    assert observed.policy is not None, "checked by advance"
    if now < rollout.plan.start_at:
        return Turn(rollout)
    if observed.candidate_state == "failed":
        words = f"version {rollout.version} does not load yet: {observed.candidate_reason}"
        return _wait(rollout, words, KeepTrying(rollout.version))
    if observed.candidate_state != "ready":
        return Turn(rollout, (LoadVersion(rollout.version),))
    asked = _ask(rollout, observed, "confirm_start", "confirm_start")
    if asked is not None:
        return asked
    words = f"version {rollout.version} is ready"
    stage = rollout.plan.shadow
    if stage is not None:
        before = observed.counters.comparisons.get(rollout.version, (0, 0))
        rollout = msgspec.structs.replace(rollout, compared_before=before)
        return go_to_shadow(rollout, stage, observed.policy, now, words)
    return go_to_step(rollout, 0, observed.policy, now, words)


def _try_as_shadow(rollout: Rollout, observed: Observation, now: float) -> Turn:
    """Wait for answers to copies of the traffic; in doubt longer than the plan asks, and never without any."""
    assert observed.policy is not None, "checked by advance"
    assert rollout.plan.shadow is not None, "the phase follows from it"
    if rollout.step_origin is None:
        if rollout.served_s + _tick(rollout, now) < SETTLE_S:
            return Turn(rollout)
        before = observed.counters.comparisons.get(rollout.version, (0, 0))
        return Turn(msgspec.structs.replace(rollout, step_origin=observed.counters, compared_before=before))
    seen = since(observed.counters, rollout.step_origin)
    compared = _compared(rollout, observed)
    checks = [check for check in rollout.plan.checks if isinstance(check, ShadowAgreement)]
    nobody = ArmCounters("", rollout.version)
    copies = judge_copies(seen.copies.get(rollout.version, {}), seen.answers_of({rollout.stable_version}))
    findings = (*judge_checks(checks, nobody, nobody, compared=compared), *([copies] if copies else []))
    if overall(findings) is Verdict.FAIL:
        failed = "; ".join(f.words for f in findings if f.verdict is Verdict.FAIL and not f.dry_run)
        turn = give_back(rollout, Event.FAIL, observed.policy, now, failed)
        return turn._replace(rollout=msgspec.structs.replace(turn.rollout, findings=findings), findings=findings)
    had_time = rollout.served_s + _tick(rollout, now) >= rollout.plan.shadow.min_time_s
    if not had_time or compared[0] < rollout.plan.shadow.min_requests or overall(findings) is not Verdict.PASS:
        return Turn(rollout, (), findings)
    turn = go_to_step(rollout, 0, observed.policy, now, f"{compared[0]} answers as a shadow compared")
    return turn._replace(rollout=msgspec.structs.replace(turn.rollout, findings=findings), findings=findings)


def _weigh(rollout: Rollout, observed: Observation, now: float) -> Turn:
    """Judge the evidence of a step: fail at once, hold in doubt, go on when everything passes."""
    assert observed.policy is not None, "checked by advance"
    if rollout.step_origin is None:
        if rollout.served_s + _tick(rollout, now) < SETTLE_S:
            return Turn(rollout)
        counters = observed.counters
        origin = rollout.origin if rollout.origin is not None else counters
        return Turn(msgspec.structs.replace(rollout, origin=origin, step_origin=counters))
    assert rollout.origin is not None, "set with the first step's"
    gathered = since(observed.counters, rollout.origin)
    canary = gathered.arm(rollout.roles.candidate, rollout.version)
    control = gathered.arm(CONTROL, rollout.stable_version)
    findings = judge_checks(
        rollout.plan.checks,
        canary,
        control,
        compared=_compared(rollout, observed),
        monitor=observed.monitor,
    )
    mismatch = _mismatch(rollout, observed)
    if mismatch is not None:
        return _hold(rollout, now, f"held: {mismatch.words}", (mismatch, *findings))
    verdict = overall(findings)
    if verdict is Verdict.FAIL:
        failed = "; ".join(f.words for f in findings if f.verdict is Verdict.FAIL and not f.dry_run)
        turn = give_back(rollout, Event.FAIL, observed.policy, now, failed)
        return turn._replace(rollout=msgspec.structs.replace(turn.rollout, findings=findings), findings=findings)
    missing = _missing(rollout, observed, now)
    if missing:
        return Turn(rollout, (), findings)
    if verdict is Verdict.INCONCLUSIVE:
        doubts = "; ".join(f.words for f in findings if f.verdict is Verdict.INCONCLUSIVE and not f.dry_run)
        return _hold(rollout, now, doubts, findings)
    return _next_step(rollout, observed, now, findings)


def _next_step(rollout: Rollout, observed: Observation, now: float, findings: tuple[Judgement, ...]) -> Turn:
    assert observed.policy is not None, "checked by advance"
    step = rollout.step + 1
    if step >= len(rollout.plan.steps):
        return _hold(rollout, now, "the plan ends here; `promote` gives the version all traffic", findings)
    is_last = rollout.plan.steps[step] == WHOLE_BP
    kind, key = ("confirm_promotion",) * 2 if is_last else ("confirm_increase", f"confirm_increase:{step}")
    asked = _ask(rollout, observed, kind, key)
    if asked is not None:
        return asked._replace(findings=findings)
    passed = rollout.plan.steps[rollout.step]
    turn = go_to_step(rollout, step, observed.policy, now, f"step of {passed / 100:g} % passed")
    return turn._replace(rollout=msgspec.structs.replace(turn.rollout, findings=findings), findings=findings)


def _bake(rollout: Rollout, observed: Observation, now: float) -> Turn:
    """Wait out the time to bake, and for a word of the registry; its refusal is told, and is no reason to stay."""
    if observed.registry_written and not rollout.registry_written:
        return Turn(msgspec.structs.replace(rollout, registry_written=True))
    commands = () if rollout.registry_written else (WriteRegistry(rollout.version),)
    has_word = rollout.registry_written or observed.registry_trouble
    if not has_word or rollout.served_s + _tick(rollout, now) < rollout.plan.bake_s:
        return Turn(rollout, commands)
    words = f"version {rollout.version} has taken over"
    if not rollout.registry_written:
        words = f"{words}, {UNTOLD}: {observed.registry_trouble}"
    return Turn(move(rollout, Event.BAKE, now, words))


def _mismatch(rollout: Rollout, observed: Observation) -> Judgement | None:
    """Compare the arms' requests at this step with their shares; only where requests are the unit of the split."""
    assert observed.policy is not None, "checked by advance"
    assert rollout.step_origin is not None, "checked by _weigh"
    if observed.policy.sticky.by != "request_id":
        return None
    at_this_step = since(observed.counters, rollout.step_origin)
    canary = at_this_step.arm(rollout.roles.candidate, rollout.version)
    control = at_this_step.arm(CONTROL, rollout.stable_version)
    candidate_bp, control_bp, _ = shares_at(rollout.plan.steps[rollout.step])
    return judge_ratio(canary, control, (candidate_bp, control_bp))


def _missing(rollout: Rollout, observed: Observation, now: float) -> bool:
    """Tell whether the step has not had its time and requests yet."""
    assert rollout.step_origin is not None, "checked by _weigh"
    answered = since(observed.counters, rollout.step_origin).arm(rollout.roles.candidate, rollout.version).split.total
    return rollout.served_s + _tick(rollout, now) < rollout.plan.min_time_s or answered < rollout.plan.min_requests


def _hold(rollout: Rollout, now: float, words: str, findings: tuple[Judgement, ...]) -> Turn:
    if rollout.phase is Phase.HOLDING:
        return Turn(rollout, (), findings)
    # The time at the step goes on: holding is no new step.
    held = move(rollout, Event.HOLD, now, words, findings=findings)
    return Turn(msgspec.structs.replace(held, served_s=rollout.served_s + _tick(rollout, now)), (), findings)


def _compared(rollout: Rollout, observed: Observation) -> tuple[int, int]:
    """Count the version's answers as a shadow that were compared, and that disagreed.

    Since its shadow stage began; a plan without one goes by all there are, of the shadow that somebody had it as.
    """
    total, differ = observed.counters.comparisons.get(rollout.version, (0, 0))
    total_before, differ_before = rollout.compared_before
    return max(0, total - total_before), max(0, differ - differ_before)


def _wait(rollout: Rollout, words: str, command: Command) -> Turn:
    """Stay, and say what for."""
    return Turn(rollout if rollout.words == words else msgspec.structs.replace(rollout, words=words), (command,))


def _ask(rollout: Rollout, observed: Observation, kind: str, key: str) -> Turn | None:
    """Have a gate asked; None when it has confirmed or there is none."""
    if not any(gate.kind == kind for gate in rollout.plan.gates) or observed.gates.get(key):
        return None
    words = f"{kind} was refused; asking again" if key in observed.gates else f"waits for {kind}"
    return _wait(rollout, words, AskGates(kind, key))


def _tick(rollout: Rollout, now: float) -> float:
    """Time since it was last accounted for, as far as it counts."""
    return min(max(now - rollout.seen_at, 0.0), MAX_TICK_S)


def _account(rollout: Rollout, now: float) -> Rollout:
    """Store the time that has passed, now and then."""
    if 0 <= now - rollout.seen_at < ACCOUNT_EVERY_S:
        return rollout
    return msgspec.structs.replace(rollout, served_s=rollout.served_s + _tick(rollout, now), seen_at=now)
