"""The ladder by its transitions: what opens, escalates, resolves, retrains, rolls back, and what stands against it."""

from __future__ import annotations

import pytest

from router.performance.escalation import Act, Command, Evidence, LadderSettings, LadderState, advance, hold
from router.performance.severity import Severity

SETTINGS = LadderSettings()
OK, WARNING, CRITICAL, EMERGENCY = Severity


def run(
    *evidence: Evidence, state: LadderState | None = None, settings: LadderSettings = SETTINGS
) -> tuple[LadderState, list[Command]]:
    """Evaluate one after another; the commands of all."""
    state = state or LadderState()
    commands: list[Command] = []
    for each in evidence:
        state, more = advance(state, each, settings, "flights/3")
        commands += more
    return state, commands


def labelled(severity: Severity, at: float = 0.0, target: int | None = 2) -> Evidence:
    return Evidence(at, labelled=severity, rollback_target=target)


def acts(commands: list[Command]) -> list[str]:
    return [command.act.value for command in commands]


@pytest.mark.parametrize(
    ("found", "expected"),
    [(OK, []), (WARNING, ["open"]), (CRITICAL, ["open", "retrain"]), (EMERGENCY, ["open", "retrain", "roll_back"])],
)
def test_evidence_without_an_incident_opens_one(found: Severity, expected: list[str]) -> None:
    """At its severity, with the acts of every level up to it."""
    state, commands = run(labelled(found))

    assert (state.severity, acts(commands)) == (found, expected)


@pytest.mark.parametrize(
    ("before", "found", "expected"),
    [
        (WARNING, WARNING, []),
        (WARNING, CRITICAL, ["escalate", "retrain"]),
        (WARNING, EMERGENCY, ["escalate", "retrain", "roll_back"]),
        (CRITICAL, WARNING, []),
        (CRITICAL, CRITICAL, []),
        (CRITICAL, EMERGENCY, ["escalate", "roll_back"]),
        (EMERGENCY, WARNING, []),
        (EMERGENCY, EMERGENCY, []),
    ],
)
def test_an_incident_climbs_and_never_falls(before: Severity, found: Severity, expected: list[str]) -> None:
    """Nothing is done twice."""
    opened, _ = run(labelled(before))
    state, commands = run(labelled(found, at=1), state=opened)

    assert acts(commands) == expected
    assert state.severity == max(before, found)
    assert state.incident == opened.incident == "flights/3/1"


def test_drift_is_a_warning_and_an_estimate_at_most_critical() -> None:
    """Only labels can call an emergency."""
    assert Evidence(0, drift=True).severity is WARNING
    assert Evidence(0, estimated=EMERGENCY).severity is CRITICAL
    assert Evidence(0, drift=True, estimated=CRITICAL, labelled=EMERGENCY).severity is EMERGENCY


def test_an_incident_is_resolved_after_three_clean_evaluations_in_a_row() -> None:
    """One that is not clean starts the count anew; the next incident has the next number."""
    clean, bad = labelled(OK), labelled(WARNING)
    state, commands = run(bad, clean, clean, bad, clean, clean)
    assert acts(commands) == ["open"]

    state, commands = run(clean, state=state)
    assert (acts(commands), state.severity, state.incident) == (["resolve"], OK, "")
    assert run(bad, state=state)[1][0].incident == "flights/3/2"


@pytest.mark.parametrize(
    ("state", "evidence", "settings", "reason"),
    [
        (LadderState(held=True), labelled(EMERGENCY), SETTINGS, "held by an operator"),
        (LadderState(), labelled(EMERGENCY, target=None), SETTINGS, "no healthy version"),
        (LadderState(last_rollback_at=0.0), labelled(EMERGENCY, at=3599), SETTINGS, "cooling down"),
        (LadderState(), labelled(EMERGENCY), LadderSettings(rollback=False), "is off"),
    ],
)
def test_a_rollback_is_withheld_with_its_reason(
    state: LadderState, evidence: Evidence, settings: LadderSettings, reason: str
) -> None:
    """Said once, while the incident climbs all the same."""
    state, commands = run(evidence, evidence, state=state, settings=settings)

    assert acts(commands) == ["open", "retrain", "withhold"]
    assert reason in commands[-1].reason
    assert state.severity is EMERGENCY


def test_a_rollback_that_was_withheld_is_done_when_nothing_stands_against_it() -> None:
    """If the evidence still holds."""
    held, _ = run(labelled(EMERGENCY), state=LadderState(held=True))
    state, commands = run(labelled(WARNING, at=1), labelled(EMERGENCY, at=2), state=hold(held, held=False))

    assert [(command.act, command.version, command.at) for command in commands] == [(Act.ROLL_BACK, 2, 2)]
    assert state.rolled_back


def test_a_hold_outlives_the_incident() -> None:
    """It is the operator's, who lifts it."""
    clean = labelled(OK)
    state, _ = run(labelled(WARNING), clean, clean, clean, state=LadderState(held=True))

    assert state.held
    assert not state.incident


def test_a_rollback_has_a_cool_down_across_incidents() -> None:
    """The second emergency within an hour is for people."""
    clean = [labelled(OK, at=10)] * 3
    _, commands = run(labelled(EMERGENCY), *clean, labelled(EMERGENCY, at=3000), labelled(EMERGENCY, at=3601))

    assert [act for act in acts(commands) if act in {"roll_back", "withhold"}] == ["roll_back", "withhold", "roll_back"]


def test_a_retraining_is_asked_for_once_a_day() -> None:
    """Per incident once, and not again within the cool-down."""
    clean = [labelled(OK, at=10)] * 3
    _, commands = run(labelled(CRITICAL), *clean, labelled(CRITICAL, at=20), labelled(CRITICAL, at=86_400))

    assert [command.at for command in commands if command.act is Act.RETRAIN] == [0, 86_400]
