"""A shared host as a Ray Serve deployment of one replica, or none while all its guests are cold."""

from __future__ import annotations

import ray
from ray import serve

from serving.deployment.gc_freeze import freeze_loaded_objects
from serving.deployment.hosting.model_host import ModelHost
from serving.deployment.listeners import publish
from serving.deployment.process_log import log_to
from serving.deployment.spec import CHANNEL_TOKEN_FILE, HostSpec, host_name
from serving.telemetry.instruments import Registry
from serving.telemetry.publisher import Publisher


class HostReplica:
    """Takes its guests' requests from the end of its constructor; loading them is not waited for."""

    async def __init__(self, spec: HostSpec) -> None:  # type: ignore[misc] # Ray Serve awaits it
        replica_id = str(serve.get_replica_context().replica_id.unique_id)
        metrics = Registry(f"{host_name(spec.number)}-{replica_id}")
        log_to(spec.logs_dir, host_name(spec.number), spec.log_level)
        self._publisher = Publisher(metrics, spec.metrics_dir, interval_s=spec.metrics_interval_s)
        self._host = ModelHost(
            spec,
            token=(spec.run_dir / CHANNEL_TOKEN_FILE).read_bytes(),
            registry=metrics,
            replica_id=replica_id,
            node=str(ray.get_runtime_context().get_node_id()),
        )
        await self._host.start()
        await self._publisher.start()
        freeze_loaded_objects()

    def record_replica_metadata(self) -> dict[str, str]:
        """Tell Ray Serve where this host listens; called once, when the constructor has returned."""
        return publish(self._host.endpoint)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Ray Serve whether any guest is loaded."""
        return self._host.stats()

    async def wake(self) -> None:
        """Answer: the call itself is what had Ray Serve start this process."""

    async def check_health(self) -> None:
        """Raise when only a new process helps."""
        self._host.check()

    async def __del__(self) -> None:
        """Drain: Ray Serve awaits this before it ends the process."""
        await self._host.close()
        await self._publisher.close()
