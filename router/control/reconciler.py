"""Which versions should run, which do, and what to do about the difference. Pure.

The shell feeds what happens to one version into `asked`, `started`, `failed` and `observed`, each of which returns its
new standing, and asks `plan` what to do next. Times are monotonic seconds.
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
MAX_DEATHS: Final = 10
DEATHS_WITHIN_S: Final = 60.0


class Phase(StrEnum):
    """Where a version stands; the values are those of `VersionStatus.state`."""

    ABSENT = "absent"
    FETCHING = "fetching"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"


class Standing(msgspec.Struct, frozen=True):
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
    deaths: tuple[float, ...] = ()
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


def asked(standing: Standing, now: float) -> Standing:
    """Somebody asks for the version: forget past failures, try at once."""
    fresh = msgspec.structs.replace(standing, wanted_until=now + LINGER_S)
    if standing.attempting:
        return fresh
    return msgspec.structs.replace(fresh, failures=0, due=now, deaths=(), halted=False)


def dropped(standing: Standing) -> Standing:
    """Somebody wants it gone: its time is up."""
    return msgspec.structs.replace(standing, wanted_until=-math.inf)


def named(standing: Standing, now: float) -> Standing:
    """A policy names the version."""
    return msgspec.structs.replace(standing, wanted_until=now + LINGER_S)


def stopping(standing: Standing) -> Standing:
    """Its application is about to be removed; one that has failed goes on saying why."""
    is_failed = standing.phase is Phase.FAILED
    return standing if is_failed else msgspec.structs.replace(standing, phase=Phase.DRAINING, reason="")


def started(standing: Standing) -> Standing:
    """An attempt begins, with fetching its files."""
    phase = standing.phase if standing.phase is Phase.FAILED else Phase.FETCHING
    return msgspec.structs.replace(standing, phase=phase, attempting=True, halted=False)


def failed(standing: Standing, reason: str, now: float, *, final: bool, patient: bool = False) -> Standing:
    """The attempt has failed: try again later, unless the end is final and only a new request helps.

    Args:
        standing: before.
        reason: why, in words for an operator.
        now: the time.
        final: another attempt would end the same way.
        patient: never give up: it was not the version that failed, but what it comes from.
    """
    pause_s = math.inf if final else BACKOFF_S[min(standing.failures, len(BACKOFF_S) - 1)]
    if not final and not patient and standing.failures + 1 >= MAX_ATTEMPTS:
        pause_s, reason = math.inf, f"{reason}; given up after {MAX_ATTEMPTS} attempts"
    return msgspec.structs.replace(
        standing,
        phase=Phase.FAILED,
        reason=reason,
        attempting=False,
        failures=standing.failures + 1,
        due=now + pause_s,
    )


def died(standing: Standing, count: int, now: float) -> Standing:
    """Processes of the version have died while it was served; enough of that ends it."""
    recent = (*(at for at in standing.deaths if at > now - DEATHS_WITHIN_S), *[now] * count)
    if len(recent) < MAX_DEATHS:
        return msgspec.structs.replace(standing, deaths=recent)
    reason = f"its processes died {len(recent)} times in {DEATHS_WITHIN_S:.0f} s; given up until it is asked for again"
    return msgspec.structs.replace(
        standing, phase=Phase.FAILED, reason=reason, attempting=False, due=math.inf, deaths=(), halted=True
    )


def observed(standing: Standing, app: AppStatus | None, now: float) -> Standing:
    """Ray Serve says how the version's application does; None: there is no such application."""
    if standing.halted:
        return standing
    if app is None:
        was_there = standing.phase in {Phase.LOADING, Phase.READY, Phase.DRAINING}
        return msgspec.structs.replace(standing, phase=Phase.ABSENT, attempting=False) if was_there else standing
    if app.phase is AppPhase.READY:
        failures = standing.failures if app.is_cold else 0  # a cold guest has not shown yet that it loads
        return msgspec.structs.replace(standing, phase=Phase.READY, reason="", attempting=False, failures=failures)
    if app.phase is AppPhase.FAILED:
        if not standing.attempting and standing.phase is Phase.FAILED:
            return standing
        after = failed(standing, app.reason, now, final=app.final, patient=app.patient)
        # A version that has served is not given up by Ray Serve, whatever its new replicas say.
        return msgspec.structs.replace(after, halted=True)
    if app.phase is AppPhase.DELETING:
        return msgspec.structs.replace(standing, phase=Phase.DRAINING, reason="", attempting=False)
    if standing.phase is Phase.FAILED or (standing.phase is Phase.READY and app.is_cold):
        return standing  # the host of a guest that was ready holds its requests while it loads
    return msgspec.structs.replace(standing, phase=Phase.LOADING, reason=app.reason)


def plan(
    standings: Mapping[VersionKey, Standing],
    running: Iterable[VersionKey],
    now: float,
    leaving: Collection[VersionKey] = (),
) -> Plan:
    """Decide which versions to start and which running applications to stop.

    Args:
        standings: of every version that is known.
        running: versions that have an application which is not being deleted, in whatever state.
        now: the time.
        leaving: versions whose application is being deleted: it keeps its name until it is gone.
    """
    unknown = Standing()
    start = frozenset(
        key
        for key, standing in standings.items()
        if standing.wanted_until > now
        and standing.phase in {Phase.ABSENT, Phase.FAILED}
        and not standing.attempting
        and standing.due <= now
        and key not in leaving
    )
    known = ((key, standings.get(key, unknown)) for key in running)
    stop = frozenset(key for key, standing in known if standing.wanted_until <= now or standing.halted) - start
    return Plan(start, stop)
