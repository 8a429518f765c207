"""The monitor as Ray Serve deployments: one process that judges, and the counters where it does not count itself."""

from __future__ import annotations

import os
from typing import Final

from ray import serve

from router.layout import Layout
from router.settings import Settings
from router.watch.process import CounterProcess, MonitorProcess
from serving.deployment.process_log import log_to

APP: Final = "monitor"
COUNTERS: Final = "counters"
_DEPLOYMENT: Final = "Monitor"
_COUNTER: Final = "Counter"
#: Reading every record costs about as much as the model does; where cores are short, answers go before verdicts.
_NICENESS: Final = 10


class MonitorReplica:
    """The one monitor of a gateway."""

    async def __init__(self, settings: Settings, layout: Layout) -> None:  # type: ignore[misc] # Ray Serve awaits it
        log_to(layout.logs_dir, "monitor", settings.log_level)
        os.nice(_NICENESS)
        self._process = MonitorProcess(settings, layout)
        await self._process.start()

    async def check_health(self) -> None:
        """Answer, which proves that the event loop turns; a dead process is noticed without."""

    async def __del__(self) -> None:
        """Stop: Ray Serve awaits this before it ends the process."""
        await self._process.close()


class CounterReplica:
    """One of several counters of a gateway."""

    async def __init__(self, settings: Settings, layout: Layout) -> None:  # type: ignore[misc] # as above
        log_to(layout.logs_dir, "counter", settings.log_level)
        os.nice(_NICENESS)
        self._process = CounterProcess(settings)
        self._process.start()

    async def check_health(self) -> None:
        """Answer, which proves that the event loop turns."""

    async def __del__(self) -> None:
        """Stop: Ray Serve awaits this before it ends the process."""
        await self._process.close()


def monitor_targets(settings: Settings, layout: Layout) -> list[serve.RunTarget]:
    """Describe the applications of the monitor."""
    monitor = _deployment(MonitorReplica, _DEPLOYMENT, 1).bind(settings, layout)
    targets = [serve.RunTarget(monitor, name=APP, route_prefix=None)]
    if settings.monitor_workers > 1:
        counters = _deployment(CounterReplica, _COUNTER, settings.monitor_workers).bind(settings, layout)
        targets.append(serve.RunTarget(counters, name=COUNTERS, route_prefix=None))
    return targets


def _deployment(replica: type, name: str, replicas: int) -> serve.Deployment:
    return serve.deployment(replica).options(
        name=name,
        num_replicas=replicas,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=2.0,
        health_check_timeout_s=30.0,
        graceful_shutdown_wait_loop_s=0.05,
        graceful_shutdown_timeout_s=5.0,
    )
