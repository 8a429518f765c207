"""What the control process needs of the machinery under it: applications of versions, and where their replicas are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from router.control.reconciler import VersionKey
from serving.channel.endpoint import Endpoint
from serving.deployment.spec import VersionSpec
from serving.deployment.status import AppStatus


class Watch(Protocol):
    """A subscription."""

    async def close(self) -> None:
        """End it."""


class Fleet(Protocol):
    """Runs versions; fits `serving.deployment.lifecycle` and `discovery`."""

    async def deploy(self, specs: Sequence[VersionSpec]) -> None:
        """Start the applications of versions, or replace failed ones, without waiting for their replicas."""

    async def delete(self, versions: Iterable[VersionKey]) -> None:
        """Have the applications of versions drained and removed, without waiting for it."""

    async def statuses(self) -> Mapping[VersionKey, AppStatus]:
        """Look at the applications of all versions."""

    def watch(self, model: str, version: int, on_endpoints: Callable[[Sequence[Endpoint]], None]) -> Watch:
        """Be told where the replicas of a version are, whenever that changes."""
