"""The sink as a Ray Serve deployment: one process, brought back when it dies."""

from __future__ import annotations

import os
from typing import Final

from ray import serve

from router.layout import Layout
from router.settings import Settings
from router.sink.process import SinkProcess
from serving.deployment.process_log import log_to

APP: Final = "sink"
_DEPLOYMENT: Final = "Sink"
#: Answers go first; Redis holds what this falls behind by.
_NICENESS: Final = 10


class SinkReplica:
    """The one sink of a gateway."""

    async def __init__(self, settings: Settings, layout: Layout) -> None:  # type: ignore[misc] # Ray Serve awaits it
        log_to(layout.logs_dir, "sink", settings.log_level)
        os.nice(_NICENESS)
        self._process = SinkProcess(settings, layout)
        await self._process.start()

    async def check_health(self) -> None:
        """Answer unless the sink has failed, so that Ray Serve replaces it."""
        self._process.check()

    async def __del__(self) -> None:
        """Stop: Ray Serve awaits this before it ends the process."""
        await self._process.close()


def sink_target(settings: Settings, layout: Layout) -> serve.RunTarget:
    """Describe the application of the sink."""
    deployment = serve.deployment(SinkReplica).options(
        name=_DEPLOYMENT,
        num_replicas=1,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=5.0,
        health_check_timeout_s=30.0,
        graceful_shutdown_wait_loop_s=0.05,
        graceful_shutdown_timeout_s=5.0,
    )
    return serve.RunTarget(deployment.bind(settings, layout), name=APP, route_prefix=None)
