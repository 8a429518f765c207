"""Lets the ladder take what is known of a version. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from router.monitor.baseline_choice import Standard
from router.monitor.incident import Transition, evidence_of, transition
from router.monitor.state import ArmState, Version
from router.performance.escalation import Act, Evidence, LadderSettings, LadderState, advance
from router.performance.severity import Severity


class Known(NamedTuple):
    """What is known of a version."""

    arms: Mapping[str, ArmState]
    standard: Standard | None
    self_referenced: bool


def evaluate(
    version: Version, state: LadderState, known: Known, at: float, *, target: int | None, settings: LadderSettings
) -> tuple[LadderState, list[Transition]]:
    """Return where the ladder stands then, and the transitions that led there, in order.

    Args:
        version: which.
        state: where it stood.
        known: about the version.
        at: Unix seconds.
        target: healthy version to go back to; None when there is none, or nothing to go back from.
        settings: of the ladder.
    """
    arms = known.arms.values()
    evidence = Evidence(
        at,
        drift=any(arm.verdict and (arm.verdict.alarmed or arm.verdict.faults) for arm in arms),
        labelled=max((arm.alarm.severity for arm in arms), default=Severity.OK),
        estimated=max((arm.hint.severity for arm in arms), default=Severity.OK),
        rollback_target=target,
    )
    after, commands = advance(state, evidence, settings, f"{version[0]}/{version[1]}")
    document = evidence_of(known.arms, known.standard) if commands else {}
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
