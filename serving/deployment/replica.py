"""A model replica: one process that serves one version, as a Ray Serve deployment."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import msgspec
import ray
from ray import serve

from serving.backends.backend import RemoteBackend
from serving.deployment.admission import fit, remember_memory
from serving.deployment.failures import load_failure
from serving.deployment.finite_outputs import watch_outputs
from serving.deployment.gc_freeze import freeze_loaded_objects
from serving.deployment.health_check import HealthCheck
from serving.deployment.idle_start import idle_start
from serving.deployment.listeners import publish
from serving.deployment.loading import agreement, batch_limits, load_proven, unbatched_because
from serving.deployment.model_server import ModelServer
from serving.deployment.process_log import log_to
from serving.deployment.remote_report import RemoteReport
from serving.deployment.replica_meters import ReplicaMeters
from serving.deployment.spec import CHANNEL_TOKEN_FILE, VersionSpec
from serving.deployment.start_backoff import FailedStarts
from serving.deployment.verified_files import open_version
from serving.registry.cache import ArtifactCache
from serving.registry.node_memory import resident_bytes
from serving.telemetry.catalog import LOAD_DURATION, OK
from serving.telemetry.instruments import Registry
from serving.telemetry.publisher import Publisher

_FAILED: Final = "failed"
_log = logging.getLogger(__name__)


class ModelReplica:
    """Exists once its version is loaded, warm and golden-checked; until then, or instead, its constructor raises."""

    async def __init__(self, spec: VersionSpec) -> None:  # type: ignore[misc] # Ray Serve awaits it
        started = time.monotonic()
        self._spec = spec
        context = serve.get_replica_context()
        self._id = str(context.replica_id.unique_id)
        self._metrics = Registry(f"replica-{spec.model}-{spec.version}-{self._id}"[:200])
        log_to(spec.logs_dir, f"{spec.model}.{spec.version}", spec.log_level)
        self._cache = ArtifactCache(spec.state_dir / "cache", spec.cache_max_bytes)
        self._publisher = Publisher(self._metrics, spec.metrics_dir, interval_s=spec.metrics_interval_s)
        self._remote: RemoteReport | None = None
        starts = FailedStarts(spec.run_dir, spec.model, spec.version)
        try:
            with idle_start():
                self._server = await self._load()
        except Exception as error:
            _log.exception("Cannot serve %s version %s", spec.model, spec.version)
            await self._report_load(started, _FAILED)
            await asyncio.sleep(starts.pause_s())
            raise load_failure(error) from error
        starts.forget()
        self._load_s = time.monotonic() - started
        await self._report_load(started, OK)
        freeze_loaded_objects()

    def record_replica_metadata(self) -> dict[str, str]:
        """Tell Ray Serve where this replica listens; called once, when the constructor has returned."""
        return publish(msgspec.structs.replace(self._server.endpoint, load_s=self._load_s))

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Ray Serve how busy this replica is."""
        return self._server.stats()

    async def wake(self) -> None:
        """Answer: the call itself is what had Ray Serve start this replica."""

    async def check_health(self) -> None:
        """Raise unless the model still answers its golden example, or is busy answering others."""
        await self._health_check.check(self._server.model)

    async def __del__(self) -> None:
        """Drain: Ray Serve awaits this before it ends the process."""
        await self._server.drain(self._spec.drain_timeout_s)
        await self._server.close()
        self._cache.close()
        await self._publisher.close()
        if self._remote is not None:
            self._remote.close()

    async def _load(self) -> ModelServer:
        before = resident_bytes()
        artifact = await asyncio.to_thread(open_version, self._spec, self._cache)
        options = await asyncio.to_thread(fit, artifact, self._spec)
        fitted = msgspec.structs.replace(artifact, options=options)
        backend, findings = await asyncio.to_thread(load_proven, fitted, self._spec.reach)
        meters = ReplicaMeters(self._metrics, self._spec.model, self._spec.version)
        self._health_check = HealthCheck(artifact, meters)
        server = ModelServer(
            watch_outputs(backend, meters.nonfinite),
            token=(self._spec.run_dir / CHANNEL_TOKEN_FILE).read_bytes(),
            limits=batch_limits(artifact.options),
            max_in_flight=self._spec.max_in_flight,
            replica_id=self._id,
            node=str(ray.get_runtime_context().get_node_id()),
            on_run=self._health_check.on_run,
            agrees=agreement(artifact),
            unbatched_because=unbatched_because(findings),
        )
        self._metrics.before_snapshot(lambda: meters.queued.set(server.waiting))
        if isinstance(backend, RemoteBackend):
            self._remote = RemoteReport(backend, self._metrics, self._spec, self._id)
            self._metrics.before_snapshot(self._remote)
        socket = self._spec.run_dir / f"replica-{self._id}.sock"
        await server.start(str(socket), example=artifact.golden.inputs)
        remember_memory(artifact, self._spec, resident_bytes() - before)
        return server

    async def _report_load(self, started: float, outcome: str) -> None:
        labels = {"model": self._spec.model, "version": str(self._spec.version), "outcome": outcome}
        self._metrics.histogram(LOAD_DURATION, **labels).observe(time.monotonic() - started)
        await self._publisher.start()
