"""The ladder is total, keeps one id per incident, climbs only, and does each act once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from router.performance.escalation import Act, Command, Evidence, LadderSettings, LadderState, advance, retire
from router.performance.severity import Severity

severities = st.sampled_from(list(Severity))
steps = st.lists(
    st.tuples(st.floats(0, 5000), st.booleans(), severities, severities, st.sampled_from([None, 2])), max_size=40
)
SETTINGS = LadderSettings()


def walk(given_steps: list[tuple[float, bool, Severity, Severity, int | None]]) -> list[tuple[LadderState, Command]]:
    """Evaluate; each command with the state that stood before it."""
    state, at, done = LadderState(), 0.0, []
    for passed, drift, labelled, estimated, target in given_steps:
        at += passed
        before = state
        state, commands = advance(state, Evidence(at, drift, labelled, estimated, target), SETTINGS, "m/1")
        done += [(before, command) for command in commands]
        assert bool(state.incident) == (state.severity > Severity.OK)
        assert not before.incident or not state.incident or state.severity >= before.severity
    return done


@given(steps)
def test_an_incident_opens_once_and_resolves_once_under_one_id(
    given_steps: list[tuple[float, bool, Severity, Severity, int | None]],
) -> None:
    """Open, then only acts of that id, then resolve."""
    standing = ""
    for _, command in walk(given_steps):
        assert (command.act is Act.OPEN) == (standing == "")
        assert command.incident == (standing or command.incident)
        standing = "" if command.act is Act.RESOLVE else command.incident


@given(steps)
def test_no_act_is_done_twice_in_an_incident(
    given_steps: list[tuple[float, bool, Severity, Severity, int | None]],
) -> None:
    """Rollback, retraining, opening and resolving: once each at most."""
    counted = Counter((command.incident, command.act) for _, command in walk(given_steps))

    assert all(number == 1 for (_, act), number in counted.items() if act not in {Act.ESCALATE, Act.WITHHOLD})
    assert all(number <= 2 for (_, act), number in counted.items() if act is Act.ESCALATE)


@given(steps)
def test_rollbacks_go_somewhere_and_keep_their_distance(
    given_steps: list[tuple[float, bool, Severity, Severity, int | None]],
) -> None:
    """To a healthy version, at an emergency, an hour apart."""
    rollbacks = [command for _, command in walk(given_steps) if command.act is Act.ROLL_BACK]

    assert all(command.version == 2 and command.severity is Severity.EMERGENCY for command in rollbacks)
    gaps = [later.at - earlier.at for earlier, later in pairwise(rollbacks)]
    assert all(gap >= SETTINGS.rollback_cool_down_s for gap in gaps)


@given(steps)
def test_a_version_without_requests_has_no_incident(
    given_steps: list[tuple[float, bool, Severity, Severity, int | None]],
) -> None:
    """Whatever stood is resolved once, under its own id and severity; the cool-downs go on."""
    state, at = LadderState(), 0.0
    for passed, drift, labelled, estimated, target in given_steps:
        at += passed
        state, _ = advance(state, Evidence(at, drift, labelled, estimated, target), SETTINGS, "m/1")
    after, commands = retire(state, at)

    assert [(each.act, each.incident, each.severity) for each in commands] == (
        [(Act.RESOLVE, state.incident, state.severity)] if state.incident else []
    )
    assert after.incident == ""
    assert (after.last_rollback_at, after.last_retrain_at) == (state.last_rollback_at, state.last_retrain_at)
    assert retire(after, at) == (after, ())


@given(steps)
def test_a_calm_ladder_stays_calm(
    given_steps: list[tuple[float, bool, Severity, Severity, int | None]],
) -> None:
    """Without an incident, no evidence changes nothing: OK is absorbing."""
    calm = [(passed, False, Severity.OK, Severity.OK, target) for passed, _, _, _, target in given_steps]

    assert walk(calm) == []
