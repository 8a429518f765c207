"""What the control process needs of the machinery under it: applications of versions, and where their replicas are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from router.control.reconciler import VersionKey
from serving.channel.endpoint import Endpoint
from serving.deployment.hosting import host_watches as hosting
from serving.deployment.spec import HostSpec, VersionSpec
from serving.deployment.status import AppStatus

OnEndpoints = Callable[[Sequence[Endpoint]], None]


class Watch(Protocol):
    """A subscription."""

    async def close(self) -> None:
        """End it."""


class Applications(Protocol):
    """What there is, as `serving.deployment.lifecycle.Applications`."""

    @property
    def versions(self) -> Mapping[VersionKey, AppStatus]:
        """Versions that have a process of their own."""

    @property
    def hosts(self) -> Mapping[int, AppStatus]:
        """Shared hosts, by number."""


class Processes(Protocol):
    """Runs processes of versions and of shared hosts; fits `serving.deployment.lifecycle` and `discovery`."""

    async def deploy(self, specs: Sequence[VersionSpec]) -> None:
        """Start versions in processes of their own; see `Fleet.deploy`."""

    async def delete(self, versions: Iterable[VersionKey]) -> None:
        """End them; see `Fleet.delete`."""

    async def deploy_host(self, spec: HostSpec) -> None:
        """Start a shared host, or replace one that has failed."""

    async def delete_host(self, number: int) -> None:
        """Have a shared host drained and removed."""

    async def statuses(self) -> Applications:
        """Look at all of them."""

    def watch(self, model: str, version: int, on_endpoints: OnEndpoints) -> Watch:
        """Be told where the replicas of a version with processes of its own are."""

    def watch_app(self, app: str, on_endpoints: OnEndpoints) -> hosting.Watch:
        """Be told where the replicas of an application are, by its name."""


class Fleet(Protocol):
    """Runs versions."""

    async def deploy(self, specs: Sequence[VersionSpec]) -> None:
        """Start the applications of versions, or replace failed ones, without waiting for their replicas."""

    async def delete(self, versions: Iterable[VersionKey]) -> None:
        """Have the applications of versions drained and removed, without waiting for it."""

    async def statuses(self) -> Mapping[VersionKey, AppStatus]:
        """Look at the applications of all versions."""

    def watch(self, model: str, version: int, on_endpoints: OnEndpoints) -> Watch:
        """Be told where the replicas of a version are, whenever that changes."""

    def keep(self, versions: frozenset[VersionKey]) -> None:
        """Learn which versions must stay in memory for as long as they run."""

    def ask_for(self, model: str, version: int) -> None:
        """Somebody wants a version in memory now."""
