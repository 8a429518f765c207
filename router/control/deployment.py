"""The control process as a Ray Serve deployment, and Ray Serve as what runs processes for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from ray import serve

from router.control.control import Control
from router.control.reconciler import VersionKey
from router.layout import Layout
from router.settings import Settings
from serving.deployment import lifecycle
from serving.deployment.discovery import AppWatch, OnEndpoints
from serving.deployment.process_log import log_to
from serving.deployment.spec import HostSpec, VersionSpec, app_name

APP: Final = "control"
_DEPLOYMENT: Final = "Control"


class ServeProcesses:
    """Runs versions and hosts as Ray Serve applications; fits `Processes`. Ray's calls block: threads make them."""

    async def deploy(self, specs: Sequence[VersionSpec]) -> None:
        """Start applications, or replace failed ones."""
        await asyncio.to_thread(lifecycle.deploy, specs)

    async def delete(self, versions: Iterable[VersionKey]) -> None:
        """Have applications drained and removed."""
        await asyncio.to_thread(lifecycle.delete, versions)

    async def deploy_host(self, spec: HostSpec) -> None:
        """Start a shared host."""
        await asyncio.to_thread(lifecycle.deploy_host, spec)

    async def delete_host(self, number: int) -> None:
        """Have a shared host removed."""
        await asyncio.to_thread(lifecycle.delete_host, number)

    async def statuses(self) -> lifecycle.Applications:
        """Look at all applications."""
        return await asyncio.to_thread(lifecycle.statuses)

    def watch(self, model: str, version: int, on_endpoints: OnEndpoints) -> AppWatch:
        """Follow the replicas of a version."""
        return AppWatch(app_name(model, version), on_endpoints)

    def watch_app(self, app: str, on_endpoints: OnEndpoints) -> AppWatch:
        """Follow the replicas of an application."""
        return AppWatch(app, on_endpoints)


class ControlReplica:
    """The one control process of a gateway."""

    async def __init__(self, settings: Settings, layout: Layout) -> None:  # type: ignore[misc] # Ray Serve awaits it
        log_to(layout.logs_dir, "control", settings.log_level)
        self._control = Control(settings, layout, ServeProcesses())
        await self._control.start()

    async def check_health(self) -> None:
        """Answer, which proves that the event loop turns; a dead process is noticed without."""

    async def __del__(self) -> None:
        """Stop: Ray Serve awaits this before it ends the process."""
        await self._control.close()


def control_target(settings: Settings, layout: Layout) -> serve.RunTarget:
    """Describe the application of the control process."""
    deployment = serve.deployment(ControlReplica).options(
        name=_DEPLOYMENT,
        num_replicas=1,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=1.0,
        health_check_timeout_s=10.0,
        graceful_shutdown_wait_loop_s=0.05,
        graceful_shutdown_timeout_s=5.0,
        max_constructor_retry_count=1,
    )
    return serve.RunTarget(deployment.bind(settings, layout), name=APP, route_prefix=None)
