"""The table of phases: what it must allow, what it must never, and the page that is drawn from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.rollout.diagram import render_page
from router.rollout.phase import EXPOSED, TERMINAL, TRANSITIONS, Event, Phase, next_phase
from serving.protocol.errors import ServingError

PAGE = Path(__file__).parents[3] / "docs" / "rollout-phases.md"
ACTIVE = sorted(set(Phase) - TERMINAL)


def reachable(phase: Phase) -> set[Phase]:
    """Every phase that some events lead to."""
    seen: set[Phase] = set()
    waiting = [phase]
    while waiting:
        for after in TRANSITIONS[waiting.pop()].values():
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return seen


def test_every_phase_and_event_is_in_the_table() -> None:
    """A phase without a row could not be left by mistake, nor entered on purpose."""
    assert set(TRANSITIONS) == set(Phase)
    assert {event for ways in TRANSITIONS.values() for event in ways} == set(Event)


@pytest.mark.parametrize("phase", sorted(TERMINAL))
@pytest.mark.parametrize("event", list(Event))
def test_terminal_phases_absorb(phase: Phase, event: Event) -> None:
    """What is over stays over."""
    with pytest.raises(ServingError, match="nothing any more"):
        next_phase(phase, event)


@pytest.mark.parametrize("phase", ACTIVE)
def test_from_every_active_phase_the_traffic_can_be_given_back_or_was_never_moved(phase: Phase) -> None:
    """No phase traps a bad version."""
    assert reachable(phase) & {Phase.FAILED, Phase.ABORTED}


@pytest.mark.parametrize("phase", sorted(EXPOSED))
def test_a_failure_rolls_back_at_once_from_every_phase_with_traffic(phase: Phase) -> None:
    """By one event, paused and baking included."""
    assert next_phase(phase, Event.FAIL) is Phase.ROLLING_BACK
    assert next_phase(phase, Event.ABORT) is Phase.ABORTING


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_can_be_reached(phase: Phase) -> None:
    """From the first one."""
    assert phase is Phase.PENDING or phase in reachable(Phase.PENDING)


def test_a_wrong_event_says_what_is_possible() -> None:
    """In the words of the command line."""
    with pytest.raises(ServingError, match="a rollout that is pending cannot pause; it can begin"):
        next_phase(Phase.PENDING, Event.PAUSE)


def test_the_page_shows_the_table_as_it_is() -> None:
    """`python -m router.rollout.diagram > docs/rollout-phases.md` after a change."""
    assert PAGE.read_text() == render_page()
