"""Counts how often load has changed the replicas of versions, in a metrics file of the process that decides."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path

from serving.deployment.scaling import Signal
from serving.telemetry.catalog import SCALINGS
from serving.telemetry.folder import write_snapshot
from serving.telemetry.instruments import Registry


class ScalingCount:
    """The changes of one version that have been carried out; wishes that a delay outlasted are none."""

    def __init__(self, metrics_dir: Path, model: str, version: int) -> None:
        self._metrics_dir = metrics_dir
        self._labels = {"model": model, "version": str(version)}
        self._current: int | None = None
        self.asked_by = Signal.BOUND
        """The signal behind the last wish."""

    def see(self, current: int) -> None:
        """Learn how many replicas there are or will be; write the counts down when that has changed."""
        before, self._current = self._current, current
        if before is None or before == current:
            return
        metrics = _metrics()
        direction = "up" if current > before else "down"
        metrics.counter(SCALINGS, **self._labels, direction=direction, reason=self.asked_by.value).add()
        with contextlib.suppress(OSError):  # a disk that is full must not keep versions from growing
            write_snapshot(self._metrics_dir, metrics.process, metrics.snapshot())


@cache
def _metrics() -> Registry:
    """Return the counts of this process, which decides for all versions; one that is redeployed goes on counting."""
    return Registry("autoscaler")
