"""What a replica measures of itself: waiting, batch sizes, runs."""

from __future__ import annotations

from collections.abc import Sequence

from serving.batching.job import Job
from serving.telemetry import catalog
from serving.telemetry.instruments import Registry


class ReplicaMeters:
    """Metric handles of one version in one process; fits `batching.batcher.OnRun`."""

    def __init__(self, registry: Registry, model: str, version: int) -> None:
        labels = {"model": model, "version": str(version)}
        self.queued = registry.gauge(catalog.QUEUED, **labels)
        self._queue = registry.histogram(catalog.QUEUE_DURATION, **labels)
        self._rows = registry.histogram(catalog.BATCH_ROWS, **labels)
        self.nonfinite = registry.counter(catalog.NONFINITE, **labels)
        self._run = registry.histogram(catalog.INFERENCE_DURATION, **labels)

    def __call__(self, jobs: Sequence[Job], rows: int, started: float, run_s: float) -> None:
        """Count a run that began at `started` (monotonic seconds)."""
        self._rows.observe(rows)
        self._run.observe(run_s)
        for job in jobs:
            self._queue.observe(started - job.arrived)
