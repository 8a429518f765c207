"""The V2 statistics extension, from the same counts that a Prometheus scrape shows: every process of the node, merged.

Routers count requests and their time, replicas count executions, rows and queueing. Time is kept for all outcomes of a
request together, so that of successes and failures is split by their numbers.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from serving.telemetry import catalog
from serving.telemetry.folder import read_folder
from serving.telemetry.metric import HistogramMetric
from serving.telemetry.publisher import Publisher
from serving.telemetry.snapshot import Distribution, Snapshot

VersionKey = tuple[str, str]
_NS: Final = 1_000_000_000


class Statistics:
    """Reads and adds up the node's metrics."""

    def __init__(self, folder: Path, publisher: Publisher) -> None:
        self._folder = folder
        self._publisher = publisher

    async def read(self, model: str, version: int | None) -> list[dict[str, Any]]:
        """List statistics by model and version: of one model unless `model` is empty, of one version if it is named."""
        await self._publisher.flush()  # this router's own counts, as of now; its siblings' are half a second old
        reading = await asyncio.to_thread(read_folder, self._folder)
        found = [key for key in sorted(_keys(reading.snapshot)) if key[1] != catalog.UNKNOWN]
        return [
            _describe(reading.snapshot, key)
            for key in found
            if model in ("", key[0]) and version in (None, int(key[1]))
        ]


def _keys(snapshot: Snapshot) -> set[VersionKey]:
    requests = snapshot.counters.get(catalog.REQUESTS.name, {})
    runs = _series(snapshot, catalog.BATCH_ROWS)
    keys = {(labels[0], labels[1]) for labels in (*requests, *runs)}
    return {key for key in keys if key[1].isdigit()}


def _series(snapshot: Snapshot, metric: HistogramMetric) -> dict[tuple[str, ...], Distribution]:
    return snapshot.histograms.get((metric.name, metric.bounds), {})


def _total(snapshot: Snapshot, metric: HistogramMetric, key: VersionKey) -> tuple[int, float]:
    """Add up how often something was observed, and the sum of it."""
    found = [values for labels, values in _series(snapshot, metric).items() if labels[:2] == key]
    return sum(sum(values.counts) for values in found), sum(values.sum for values in found)


def _describe(snapshot: Snapshot, key: VersionKey) -> dict[str, Any]:
    outcomes: dict[str, int] = {}
    for labels, count in snapshot.counters.get(catalog.REQUESTS.name, {}).items():
        if labels[:2] == key:
            outcomes[labels[-1]] = outcomes.get(labels[-1], 0) + int(count)
    total = sum(outcomes.values())
    succeeded = outcomes.get(catalog.OK, 0)
    _, seconds = _total(snapshot, catalog.REQUEST_DURATION, key)
    executions, rows = _total(snapshot, catalog.BATCH_ROWS, key)
    queued, queue_s = _total(snapshot, catalog.QUEUE_DURATION, key)
    runs, run_s = _total(snapshot, catalog.INFERENCE_DURATION, key)
    return {
        "name": key[0],
        "version": key[1],
        "inference_count": int(rows),
        "execution_count": executions,
        "inference_stats": {
            "success": _duration(succeeded, seconds * succeeded / total if total else 0.0),
            "fail": _duration(total - succeeded, seconds * (total - succeeded) / total if total else 0.0),
            "queue": _duration(queued, queue_s),
            "compute_input": _duration(runs, 0.0),
            "compute_infer": _duration(runs, run_s),
            "compute_output": _duration(runs, 0.0),
            "cache_hit": _duration(0, 0.0),
            "cache_miss": _duration(0, 0.0),
        },
        "batch_stats": [],
        "memory_usage": [],
    }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": int(seconds * _NS)}
