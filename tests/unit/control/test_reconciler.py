"""Which versions are started, stopped and left alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from router.control.reconciler import (
    BACKOFF_S,
    LINGER_S,
    MAX_ATTEMPTS,
    MAX_CRASHES,
    LoadState,
    Phase,
    asked,
    crashed,
    failed,
    named,
    observed,
    plan,
    started,
)
from serving.deployment.status import AppPhase, AppStatus, GuestStatus
from serving.protocol.messages import Signature

KEY = ("flights", 3)
NOW = 1000.0

LOADING = AppStatus(AppPhase.LOADING)
READY = AppStatus(AppPhase.READY)
DELETING = AppStatus(AppPhase.DELETING)
WRONG = AppStatus(AppPhase.FAILED, "golden check failed", final=True)
COLD = AppStatus(AppPhase.READY, guest=GuestStatus(1, Signature((), ())))
LOADED = AppStatus(AppPhase.READY, guest=GuestStatus(1, Signature((), ()), loaded=True))
CRASHED = AppStatus(AppPhase.FAILED, "its process died")


def start_of(state: LoadState, now: float = NOW) -> bool:
    return KEY in plan({KEY: state}, [], now).start


def test_a_version_that_a_policy_names_is_started() -> None:
    """Absent and named: start."""
    assert start_of(named(LoadState(), NOW))


def test_a_version_that_nobody_wants_is_not_started() -> None:
    """Known, but not named: leave alone."""
    assert not start_of(LoadState())


def test_a_version_is_started_once() -> None:
    """No second attempt while one is under way."""
    assert not start_of(started(named(LoadState(), NOW)))


def test_a_version_that_no_policy_names_any_more_stays_warm_for_a_rollback() -> None:
    """It is stopped only when it has not been named for the time to linger."""
    running = observed(named(LoadState(), NOW), READY, NOW)
    assert not plan({KEY: running}, [KEY], NOW + LINGER_S - 1).stop
    assert plan({KEY: running}, [KEY], NOW + LINGER_S).stop == {KEY}


def test_a_version_that_cannot_load_is_not_attempted_again_by_itself() -> None:
    """A final failure is not retried: it would fail the same way for ever."""
    broken = observed(started(named(LoadState(), NOW)), WRONG, NOW)
    assert (broken.phase, broken.reason, broken.due) == (Phase.FAILED, "golden check failed", math.inf)
    assert not start_of(named(broken, NOW + 1e6), NOW + 1e6)


def test_the_application_of_a_version_that_fails_is_removed() -> None:
    """Ray Serve would go on restarting the replicas of one that has served before, without a pause and for ever."""
    served = observed(named(LoadState(), NOW), READY, NOW)
    broken = observed(served, CRASHED, NOW)

    assert plan({KEY: broken}, [KEY], NOW).stop == {KEY}
    assert observed(broken, DELETING, NOW) == broken
    assert not plan({KEY: broken}, [], NOW + BACKOFF_S[0], leaving=[KEY]).start
    assert start_of(broken, NOW + BACKOFF_S[0])


def test_a_version_is_attempted_for_as_long_as_what_it_needs_is_away() -> None:
    """A Triton that is gone for an hour is no reason to give the version up."""
    state, now = named(LoadState(), NOW), NOW
    for _ in range(3 * MAX_ATTEMPTS):
        state = observed(started(state), AppStatus(AppPhase.FAILED, "no Triton", patient=True), now)
        now += BACKOFF_S[-1]
        assert start_of(named(state, now), now)


def test_asking_for_a_version_that_could_not_load_attempts_it_again() -> None:
    """An operator may have mended what was wrong."""
    broken = observed(started(named(LoadState(), NOW)), WRONG, NOW)
    assert start_of(asked(broken, NOW + 5), NOW + 5)


def test_a_failure_that_may_pass_is_retried_with_growing_pauses() -> None:
    """The pauses are those of the table, and the last one repeats."""
    state, now = named(LoadState(), NOW), NOW
    for pause_s in (*BACKOFF_S, BACKOFF_S[-1]):
        state = observed(started(state), CRASHED, now)
        assert not start_of(named(state, now), now + pause_s - 0.01)
        now += pause_s
        assert start_of(named(state, now), now)


def test_a_failure_that_may_pass_is_told_from_one_that_is_final() -> None:
    """Whoever waits for the version knows whether to go on."""
    attempted = started(asked(LoadState(), NOW))
    assert not attempted.is_retried
    passing = failed(attempted, "registry away", NOW, final=False, patient=True)
    assert (passing.is_retried, started(passing).is_retried) == (True, True)
    assert not failed(attempted, "bad file", NOW, final=True).is_retried


def test_a_failed_version_stays_failed_until_it_is_ready_again() -> None:
    """A retry must not let traffic come back before it has succeeded."""
    retried = started(observed(started(named(LoadState(), NOW)), CRASHED, NOW))
    assert observed(retried, LOADING, NOW).phase is Phase.FAILED
    assert observed(retried, READY, NOW) == observed(retried, READY, NOW)
    assert observed(retried, READY, NOW).phase is Phase.READY


def test_success_forgets_past_failures() -> None:
    """The next failure starts with the shortest pause."""
    state = observed(started(failed(named(LoadState(), NOW), "no registry", NOW, final=False)), READY, NOW)
    assert (state.failures, state.reason) == (0, "")


def test_a_guest_that_fails_to_load_is_retried_with_growing_pauses_though_it_is_ready_while_cold() -> None:
    """That its host has taken it in shows nothing: only a load that succeeds forgets past failures."""
    state, pauses = named(LoadState(), NOW), []
    for _ in BACKOFF_S:
        state = observed(started(state), COLD, NOW)
        assert state.phase is Phase.READY
        state = observed(state, CRASHED, NOW)
        pauses.append(state.due - NOW)
    assert pauses == list(BACKOFF_S)
    assert observed(started(state), LOADED, NOW).failures == 0


def test_a_guest_that_is_ready_stays_so_while_its_host_loads_it() -> None:
    """Its requests are held; one that has failed stays failed until it is loaded."""
    ready = observed(started(named(LoadState(), NOW)), COLD, NOW)
    assert observed(ready, COLD._replace(phase=AppPhase.LOADING), NOW).phase is Phase.READY
    failing = started(observed(ready, CRASHED, NOW))
    assert observed(failing, COLD._replace(phase=AppPhase.LOADING), NOW).phase is Phase.FAILED


def test_an_application_that_is_gone_makes_its_version_absent_and_it_is_started_anew() -> None:
    """Somebody deleted it behind our back."""
    state = observed(observed(named(LoadState(), NOW), READY, NOW), None, NOW)
    assert state.phase is Phase.ABSENT
    assert start_of(state)


def test_a_version_being_deleted_is_draining_and_not_started_meanwhile() -> None:
    """The old application must be gone before a new one takes its name."""
    state = observed(observed(named(LoadState(), NOW), READY, NOW), DELETING, NOW)
    assert state.phase is Phase.DRAINING
    assert not start_of(state)


@dataclass
class World:
    """A fleet that does what the plan says, with failures as they come."""

    state: LoadState = field(default_factory=LoadState)
    app: AppStatus | None = None
    now: float = NOW

    def turn(self) -> None:
        self.state = observed(self.state, self.app, self.now)
        running, leaving = self.app not in {None, DELETING}, self.app == DELETING
        todo = plan({KEY: self.state}, [KEY] * running, self.now, [KEY] * leaving)
        assert not (todo.start & todo.stop)
        if todo.start:
            assert self.app in {None, WRONG, CRASHED}, "a running application was replaced"
            self.state, self.app = started(self.state), LOADING
        if todo.stop:
            self.app = DELETING


@given(st.lists(st.sampled_from(["name", "ask", "ready", "wrong", "crash", "gone", "wait"]), max_size=60))
def test_whatever_happens_a_wanted_version_that_can_load_becomes_ready(events: list[str]) -> None:
    """From any history, naming a version and letting its load succeed ends in READY; nothing running is replaced."""
    world = World()
    for event in events:
        world.now += 700.0 if event == "wait" else 0.2
        if event == "name":
            world.state = named(world.state, world.now)
        elif event == "ask":
            world.state = asked(world.state, world.now)
        elif event == "gone":
            world.app = None
        elif world.app == LOADING and event in {"ready", "wrong", "crash"}:
            world.app = {"ready": READY, "wrong": WRONG, "crash": CRASHED}[event]
        world.turn()
    for _ in range(4):
        world.now += 61.0
        world.app = {LOADING: READY, DELETING: None}.get(world.app, world.app) if world.app else None
        world.state = asked(world.state, world.now)
        world.turn()
    assert world.state.phase in {Phase.READY, Phase.FETCHING, Phase.FAILED}
    world.app = READY
    world.turn()
    assert world.state.phase is Phase.READY


def test_a_version_that_never_loads_is_given_up_and_says_so() -> None:
    """Unless it is the registry that is away: that passes."""
    crashing = patient = named(LoadState(), NOW)
    for _ in range(MAX_ATTEMPTS):
        crashing = failed(crashing, "its process died", NOW, final=False)
        patient = failed(patient, "the registry is away", NOW, final=False, patient=True)

    assert crashing.due == math.inf
    assert crashing.reason == f"its process died; given up after {MAX_ATTEMPTS} attempts"
    assert patient.due == NOW + BACKOFF_S[-1]


def test_a_version_whose_processes_die_again_and_again_is_halted() -> None:
    """It loads each time, and Ray Serve would restart it for ever; asking for it again is a fresh start."""
    state = observed(named(LoadState(), NOW), READY, NOW)
    for _ in range(MAX_CRASHES):
        state = observed(crashed(state, 1, NOW), READY, NOW)

    assert state.phase is Phase.FAILED
    assert f"died {MAX_CRASHES} times" in state.reason
    assert plan({KEY: state}, [KEY], NOW).stop == {KEY}
    assert not start_of(state)
    assert start_of(asked(state, NOW))


def test_a_death_now_and_then_is_no_reason_to_give_up() -> None:
    """Old ones are forgotten."""
    state = observed(named(LoadState(), NOW), READY, NOW)
    for step in range(10 * MAX_CRASHES):
        state = crashed(state, 1, NOW + 10.0 * step)

    assert state.phase is Phase.READY
