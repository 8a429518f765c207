"""What the admin API stands on: the ports, who may call, and how long to wait; given once, found by every handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import Depends, Path, Request

from router.admin.guard import caller_of
from router.admin.operations import Caller
from router.monitor.book import Book
from router.monitor.incident import Incident
from router.ports import KeyStore, LogAccounting, PolicyStore, Readings, VersionManager
from router.rollout.evidence import Judgement
from router.rollout.rollout import Rollout
from router.rollout_ports import RolloutStore

#: Gives what the node knows of itself: addresses, processes, start time. Must not fail when a part is away.
NodeStatus = Callable[[], Awaitable[Mapping[str, Any]]]


class Watch(Protocol):
    """What the monitor knows, and the one thing that operators tell it. May raise `StoreUnavailable`."""

    async def book(self) -> Book:
        """Read the monitor's book as last stored."""

    async def incidents(self, limit: int, model: str | None = None) -> Sequence[Incident]:
        """List incidents as they stand, the youngest first."""

    async def holds(self) -> Mapping[str, str]:
        """Read for which models automatic rollbacks are held, and why."""

    async def hold(self, model: str, reason: str | None) -> None:
        """Forbid automatic rollbacks of a model; None allows them again."""


@dataclass(frozen=True)
class RolloutServices:
    """Rollouts as the admin API sees them: kept in a store, carried on by a controller."""

    store: RolloutStore
    findings: Callable[[Rollout], Sequence[Judgement]]
    """What the checks of a rollout say now."""
    nudge: Callable[[], None]
    """Have the controller look at once."""


@dataclass(frozen=True)
class RegistryServices:
    """The registry as the admin API sees it, beside what versions need to be served."""

    aliased: Callable[[str, str], Awaitable[int]]
    """Find the version of a model's alias; `ServingError` when it cannot tell."""
    model_bytes: Callable[[str, int], Awaitable[int]]
    """Say how large the model files of a version are; `ServingError` when it cannot tell."""
    concerns: Callable[[], Sequence[str]]
    """Say which variants are not where their alias points, and why."""


@dataclass(frozen=True)
class Services:
    """The outside world of the admin API."""

    store: PolicyStore
    versions: VersionManager
    log: LogAccounting
    status: NodeStatus
    clock: Callable[[], float]
    """Unix seconds."""
    ready_timeout_s: float
    readings: Readings
    rollouts: RolloutServices
    watch: Watch
    keys: KeyStore
    cool_down_s: float
    """How long a version that the hard-failure watch has taken back gets no share."""
    registry: RegistryServices


def services_of(request: Request) -> Services:
    """Find the services of the app that serves a request."""
    services: Services = request.app.state.services
    return services


Ports = Annotated[Services, Depends(services_of)]
Actor = Annotated[Caller, Depends(caller_of)]

ModelName = Annotated[str, Path(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", description="Name of a served model.")]
VersionNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="Version in the registry.")]
