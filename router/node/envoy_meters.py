"""Puts what the door's Envoys count onto the node's metrics page."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from router.node.envoy_process import EnvoyProcess
from router.node.envoy_stats import COUNTERS, GAUGES
from serving.telemetry.catalog import DOOR_STARTS, PUBLISH_FAILURES
from serving.telemetry.folder import write_snapshot
from serving.telemetry.instruments import Registry

_PERIOD_S: Final = 1.0

_log = logging.getLogger(__name__)


class DoorMeters:
    """Follows the counters of one process after the other, so that the node's go on through all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._registry = Registry("grpc-door")
        self._starts = self._registry.counter(DOOR_STARTS)
        self._failures = self._registry.counter(PUBLISH_FAILURES)
        self._seen: dict[int, Mapping[str, int]] = {}
        """What each process last said, by its number."""
        self._due_at = 0.0

    def count_start(self) -> None:
        """Another process was started."""
        self._starts.add()

    def tend(self, processes: Iterable[EnvoyProcess]) -> None:
        """Ask and publish, if a second has passed since the last time; gauges are sums over all processes."""
        now = time.monotonic()
        if now < self._due_at:
            return
        self._due_at = now + _PERIOD_S
        gauges = dict.fromkeys(GAUGES, 0)
        for process in processes:
            for name in gauges.keys() & (stats := self.follow(process)).keys():
                gauges[name] += stats[name]
        for name, (metric, labels) in GAUGES.items():
            self._registry.gauge(metric, **labels).set(gauges[name])
        self._publish()

    def follow(self, process: EnvoyProcess) -> Mapping[str, int]:
        """Add what a process has counted since it was last asked; return what it says, nothing if it does not answer.

        To be called once more before a process is ended, for the last of its calls.
        """
        stats = process.stats()
        if stats:
            before = self._seen.get(process.pid, {})
            for name, (metric, labels) in COUNTERS.items():
                self._registry.counter(metric, **labels).add(max(0, stats.get(name, 0) - before.get(name, 0)))
            self._seen[process.pid] = stats
        return stats

    def forget(self, process: EnvoyProcess) -> None:
        """Drop what a process said that has ended."""
        self._seen.pop(process.pid, None)

    def _publish(self) -> None:
        try:
            write_snapshot(self._folder, self._registry.process, self._registry.snapshot())
        except OSError as error:
            if not self._failures.value:
                _log.warning("Cannot publish the gRPC door's metrics: %s; further failures are only counted", error)
            self._failures.add()
