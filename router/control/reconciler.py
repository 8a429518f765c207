"""Which versions should run, which do, and what to do about the difference. Pure.

The shell feeds what happens to one version into `asked`, `started`, `failed` and `observed`, each of which returns its
new state, and asks `plan` what to do next. Times are monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from serving.deployment.status import AppPhase, AppStatus

VersionKey = tuple[str, int]

#: How long a version stays loaded after the last policy that named it is gone: time to roll back without a cold start.
LINGER_S: Final = 600.0
#: Pauses before each further attempt after a failure that may pass; the last one repeats.
BACKOFF_S: Final = (2.0, 5.0, 15.0, 60.0)

#: Attempts to load in a row after which only a new request helps.
MAX_ATTEMPTS: Final = 6
#: Deaths of a version's processes, and the time within which so many end it: Ray Serve would restart them for ever.
MAX_CRASHES: Final = 10
CRASH_WINDOW_S: Final = 60.0


class Phase(StrEnum):
    """Where a version stands; the values are those of `VersionStatus.state`."""

    ABSENT = "absent"
    FETCHING = "fetching"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"


class LoadState(msgspec.Struct, frozen=True):
    """What is known of one version."""

    phase: Phase = Phase.ABSENT
    reason: str = ""
    """Why it failed, or what it waits for."""
    attempting: bool = False
    """An attempt to load it is under way. A version that has failed stays FAILED until one succeeds: no traffic."""
    failures: int = 0
    """Attempts in a row that failed."""
    due: float = -math.inf
    """Not to be attempted before; infinite when only a new request helps."""
    wanted_until: float = -math.inf
    crashes: tuple[float, ...] = ()
    """When its processes died, lately."""
    halted: bool = False
    """Its application is to be removed: Ray Serve, left to itself, would restart it at once and for ever."""

    @property
    def is_retried(self) -> bool:
        """It has failed, but another attempt is under way or will come while it is wanted."""
        return self.phase is Phase.FAILED and (self.attempting or self.due < math.inf)

    def is_settled(self, now: float) -> bool:
        """Nothing is under way: it is ready, or an attempt has failed and the next, if any, is not due."""
        return self.phase is Phase.READY or (self.phase is Phase.FAILED and not self.attempting and self.due > now)


class Plan(NamedTuple):
    """What to do now."""

    start: frozenset[VersionKey]
    stop: frozenset[VersionKey]


def asked(state: LoadState, now: float) -> LoadState:
    """Somebody asks for the version: forget past failures, try at once."""
    fresh = msgspec.structs.replace(state, wanted_until=now + LINGER_S)
    if state.attempting:
        return fresh
    return msgspec.structs.replace(fresh, failures=0, due=now, crashes=(), halted=False)


def dropped(state: LoadState) -> LoadState:
    """Somebody wants it gone: its time is up."""
    return msgspec.structs.replace(state, wanted_until=-math.inf)


def named(state: LoadState, now: float) -> LoadState:
    """A policy names the version."""
    return msgspec.structs.replace(state, wanted_until=now + LINGER_S)


def stopping(state: LoadState) -> LoadState:
    """Its application is about to be removed; one that has failed goes on saying why."""
    is_failed = state.phase is Phase.FAILED
    return state if is_failed else msgspec.structs.replace(state, phase=Phase.DRAINING, reason="")


def started(state: LoadState) -> LoadState:
    """An attempt begins, with fetching its files."""
    phase = state.phase if state.phase is Phase.FAILED else Phase.FETCHING
    return msgspec.structs.replace(state, phase=phase, attempting=True, halted=False)


def failed(state: LoadState, reason: str, now: float, *, final: bool, patient: bool = False) -> LoadState:
    """The attempt has failed: try again later, unless the end is final and only a new request helps.

    Args:
        state: before.
        reason: why, in words for an operator.
        now: the time.
        final: another attempt would end the same way.
        patient: never give up: it was not the version that failed, but what it comes from.
    """
    pause_s = math.inf if final else BACKOFF_S[min(state.failures, len(BACKOFF_S) - 1)]
    if not final and not patient and state.failures + 1 >= MAX_ATTEMPTS:
        pause_s, reason = math.inf, f"{reason}; given up after {MAX_ATTEMPTS} attempts"
    return msgspec.structs.replace(
        state,
        phase=Phase.FAILED,
        reason=reason,
        attempting=False,
        failures=state.failures + 1,
        due=now + pause_s,
    )


def crashed(state: LoadState, count: int, now: float) -> LoadState:
    """Processes of the version have died while it was served; enough of that ends it."""
    recent = (*(at for at in state.crashes if at > now - CRASH_WINDOW_S), *[now] * count)
    if len(recent) < MAX_CRASHES:
        return msgspec.structs.replace(state, crashes=recent)
    reason = f"its processes died {len(recent)} times in {CRASH_WINDOW_S:.0f} s; given up until it is asked for again"
    return msgspec.structs.replace(
        state, phase=Phase.FAILED, reason=reason, attempting=False, due=math.inf, crashes=(), halted=True
    )


def observed(state: LoadState, app: AppStatus | None, now: float) -> LoadState:
    """Ray Serve says how the version's application does; None: there is no such application."""
    if state.halted:
        return state
    if app is None:
        was_there = state.phase in {Phase.LOADING, Phase.READY, Phase.DRAINING}
        return msgspec.structs.replace(state, phase=Phase.ABSENT, attempting=False) if was_there else state
    if app.phase is AppPhase.READY:
        failures = state.failures if app.is_cold else 0  # a cold guest has not shown yet that it loads
        return msgspec.structs.replace(state, phase=Phase.READY, reason="", attempting=False, failures=failures)
    if app.phase is AppPhase.FAILED:
        if not state.attempting and state.phase is Phase.FAILED:
            return state
        after = failed(state, app.reason, now, final=app.final, patient=app.patient)
        # A version that has served is not given up by Ray Serve, whatever its new replicas say.
        return msgspec.structs.replace(after, halted=True)
    if app.phase is AppPhase.DELETING:
        return msgspec.structs.replace(state, phase=Phase.DRAINING, reason="", attempting=False)
    if state.phase is Phase.FAILED or (state.phase is Phase.READY and app.is_cold):
        return state  # the host of a guest that was ready holds its requests while it loads
    return msgspec.structs.replace(state, phase=Phase.LOADING, reason=app.reason)


def plan(
    states: Mapping[VersionKey, LoadState],
    running: Iterable[VersionKey],
    now: float,
    leaving: Collection[VersionKey] = (),
) -> Plan:
    """Decide which versions to start and which running applications to stop.

    Args:
        states: of every version that is known.
        running: versions that have an application which is not being deleted, in whatever state.
        now: the time.
        leaving: versions whose application is being deleted: it keeps its name until it is gone.
    """
    unknown = LoadState()
    start = frozenset(
        key
        for key, state in states.items()
        if state.wanted_until > now
        and state.phase in {Phase.ABSENT, Phase.FAILED}
        and not state.attempting
        and state.due <= now
        and key not in leaving
    )
    known = ((key, states.get(key, unknown)) for key in running)
    stop = frozenset(key for key, state in known if state.wanted_until <= now or state.halted) - start
    return Plan(start, stop)
