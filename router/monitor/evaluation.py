"""Lets the ladder take what is known of a version. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from router.monitor.baseline_choice import Standard
from router.monitor.incident import Transition, evidence_of, transition
from router.monitor.reach import Reach
from router.monitor.state import ArmState, Version
from router.performance.escalation import Act, Evidence, LadderSettings, LadderState, advance, hold, retire


class Known(NamedTuple):
    """What is known of a version."""

    arms: Mapping[str, ArmState]
    reached: frozenset[str]
    """Names of the arms whose verdicts count."""
    standard: Standard | None
    self_referenced: bool


class Standing(NamedTuple):
    """How a version stands with the policy and the operators."""

    reach: Reach
    target: int | None = None
    """Healthy version to go back to; None when there is none, or nothing to go back from."""
    held: bool = False
    """An operator has forbidden rollbacks."""


def evaluate(
    version: Version, state: LadderState, known: Known, at: float, standing: Standing, *, settings: LadderSettings
) -> tuple[LadderState, list[Transition]]:
    """Return where the ladder stands then, and the transitions that led there, in order.

    Args:
        version: which.
        state: where it stood.
        known: about the version.
        at: Unix seconds.
        standing: with the policy and the operators.
        settings: of the ladder.
    """
    state = hold(state, held=standing.held)
    arms = {name: arm for name, arm in known.arms.items() if name in known.reached}
    if arms:
        evidence = _evidence(arms.values(), at, standing)
        after, commands = advance(state, evidence, settings, f"{version[0]}/{version[1]}")
    else:
        after, commands = retire(state, at)
        arms = dict(known.arms)  # what the incident was about stays on its record
    document = evidence_of(arms, known.standard) if commands else {}
    return after, [
        transition(
            command,
            state if command.act is Act.RESOLVE else after,
            *version,
            document,
            self_referenced=known.self_referenced,
        )
        for command in commands
    ]


def _evidence(arms: Collection[ArmState], at: float, standing: Standing) -> Evidence:
    return Evidence(
        at,
        drift=any(arm.verdict and (arm.verdict.alarmed or arm.verdict.faults) for arm in arms),
        labelled=max(arm.alarm.severity for arm in arms),
        estimated=max(arm.hint.severity for arm in arms),
        rollback_target=standing.target,
        serving=standing.reach.serves,
    )
