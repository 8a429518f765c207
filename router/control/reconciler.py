"""Which versions should run, which do, and what to do about the difference. Pure.

The shell feeds what happens to one version into `asked`, `started`, `failed` and `observed`, each of which returns its
new standing, and asks `plan` what to do next. Times are monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from serving.deployment.status import AppPhase, AppStatus

VersionKey = tuple[str, int]

#: How long a version stays loaded after the last policy that named it is gone: time to roll back without a cold start.
LINGER_S: Final = 600.0
#: Pauses before each further attempt after a failure that may pass; the last one repeats.
BACKOFF_S: Final = (2.0, 5.0, 15.0, 60.0)


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
    return fresh if standing.attempting else msgspec.structs.replace(fresh, failures=0, due=now)


def named(standing: Standing, now: float) -> Standing:
    """A policy names the version."""
    return msgspec.structs.replace(standing, wanted_until=now + LINGER_S)


def started(standing: Standing) -> Standing:
    """An attempt begins, with fetching its files."""
    phase = standing.phase if standing.phase is Phase.FAILED else Phase.FETCHING
    return msgspec.structs.replace(standing, phase=phase, attempting=True)


def failed(standing: Standing, reason: str, now: float, *, final: bool) -> Standing:
    """The attempt has failed: try again later, unless the end is final and only a new request helps."""
    pause_s = math.inf if final else BACKOFF_S[min(standing.failures, len(BACKOFF_S) - 1)]
    return msgspec.structs.replace(
        standing,
        phase=Phase.FAILED,
        reason=reason,
        attempting=False,
        failures=standing.failures + 1,
        due=now + pause_s,
    )


def observed(standing: Standing, app: AppStatus | None, now: float) -> Standing:
    """Ray Serve says how the version's application does; None: there is no such application."""
    if app is None:
        was_there = standing.phase in {Phase.LOADING, Phase.READY, Phase.DRAINING}
        return msgspec.structs.replace(standing, phase=Phase.ABSENT, attempting=False) if was_there else standing
    if app.phase is AppPhase.READY:
        return msgspec.structs.replace(standing, phase=Phase.READY, reason="", attempting=False, failures=0)
    if app.phase is AppPhase.FAILED:
        is_news = standing.attempting or standing.phase is not Phase.FAILED
        return failed(standing, app.reason, now, final=app.final) if is_news else standing
    if app.phase is AppPhase.DELETING:
        return msgspec.structs.replace(standing, phase=Phase.DRAINING, reason="", attempting=False)
    if standing.phase is Phase.FAILED:
        return standing
    return msgspec.structs.replace(standing, phase=Phase.LOADING, reason=app.reason)


def plan(standings: Mapping[VersionKey, Standing], running: Iterable[VersionKey], now: float) -> Plan:
    """Decide which versions to start and which running applications to stop.

    Args:
        standings: of every version that is known.
        running: versions that have an application which is not being deleted, in whatever state.
        now: the time.
    """
    unknown = Standing()
    start = frozenset(
        key
        for key, standing in standings.items()
        if standing.wanted_until > now
        and standing.phase in {Phase.ABSENT, Phase.FAILED}
        and not standing.attempting
        and standing.due <= now
    )
    stop = frozenset(key for key in running if standings.get(key, unknown).wanted_until <= now) - start
    return Plan(start, stop)
