"""Tells a process where the replicas of an application are, as they come and go.

Ray Serve's controller pushes each deployment's running replicas, with what they published by
`record_replica_metadata`, to every handle of it; a request router, the documented extension point, sees the push. Ours
never routes a request: it passes the endpoints on. Ray carries the router class to other processes pickled by value, so
its module's globals there are copies; the listeners live in `listeners`, which is reached by an import instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from serving.channel.endpoint import Endpoint
from serving.deployment.listeners import listen, unlisten
from serving.deployment.spec import DEPLOYMENT

_log = logging.getLogger(__name__)

OnEndpoints = Callable[[Sequence[Endpoint]], None]


class EndpointRouter(RequestRouter):
    """Hands each new set of replicas to this process' listener."""

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Keep what the base class reads of known replicas, and pass on. Queue lengths are of no use, so no probes."""
        from serving.deployment import listeners

        self._replicas = {replica.replica_id: replica for replica in replicas}
        listeners.announce(self.app_name, [replica.replica_metadata for replica in replicas])

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Let Serve call any replica; only health checks and tests ever do."""
        del pending_request
        return [candidate_replicas]


class AppWatch:
    """Follows one version, or one shared host, until closed.

    The application need not exist yet, and may be deleted and come back. To be created on a running event loop, where
    `on_endpoints` is called: once per change, never by the constructor.
    """

    def __init__(self, app: str, on_endpoints: OnEndpoints) -> None:
        """Take the application's name, see `spec.app_name` and `spec.host_name`, and who is told."""
        self._app = app
        self._on_endpoints = on_endpoints
        self._waking: asyncio.Task[None] | None = None
        listen(self._app, self._located)
        # Not through Serve's cache of handles, which forgets at random beyond 100.
        self._handle: Any = DeploymentHandle(DEPLOYMENT, self._app)
        self._handle._init()  # noqa: SLF001 - subscribes without a request

    def wake(self) -> None:
        """Ask for a replica of an application that has none; once, until that has been answered.

        A call that waits in a handle is what makes Ray Serve start the first replica.
        """
        if self._waking is None or self._waking.done():
            self._waking = asyncio.create_task(self._wait_for_replica(), name=f"wake-{self._app}")

    def _located(self, endpoints: Sequence[Endpoint]) -> None:
        """Pass on, and take back what woke them: a call that a replica took with it when it died is never answered.

        Ray Serve would go on counting it, and never scale to zero again.
        """
        if endpoints and self._waking is not None:
            self._waking.cancel()
        self._on_endpoints(endpoints)

    async def _wait_for_replica(self) -> None:
        call = self._handle.wake.remote()
        try:
            await call
        except asyncio.CancelledError:
            call.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whoever still waits asks again
            _log.warning("No replica of %s came: %s", self._app, error)

    async def close(self) -> None:
        """Unsubscribe."""
        if self._waking is not None:
            self._waking.cancel()
        unlisten(self._app, self._located)
        await self._handle.shutdown_async()
