"""Runs one remote backend's jobs, many at once: the remote end batches, here only the calls wait.

Fits where `Batcher` fits. A call whose client has gone is cancelled, and so is the remote one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from functools import partial
from typing import Final

from serving.backends.backend import RemoteBackend
from serving.batching.assembly import bfloat16_outputs, scatter, stack
from serving.batching.batcher import KEPT_LATENCIES, BatchLimits, OnRun
from serving.batching.job import Job, Result
from serving.batching.window import Lanes
from serving.protocol.errors import ErrorKind, ServingError

#: Longest wait for the answer to a request without a deadline; backends have shorter ones of their own.
_ENDLESS_S: Final = 3600.0


class ConcurrentRunner:
    """Keeps at most `max_concurrency` calls open; the rest waits, shadows behind primaries."""

    def __init__(self, backend: RemoteBackend, limits: BatchLimits, *, on_run: OnRun | None = None) -> None:
        self._backend = backend
        self._bfloat16 = bfloat16_outputs(backend.signature)
        self._limits = limits
        self._on_run = on_run
        self._lanes = Lanes()
        self._running: dict[Job, asyncio.Task[None]] = {}
        self._closed = False
        self._busy_s = 0.0
        self._observed_from = time.monotonic()
        self._latencies: deque[float] = deque(maxlen=KEPT_LATENCIES)

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self._running and not self._lanes.waiting

    @property
    def waiting(self) -> int:
        """Jobs that wait for a free call."""
        return self._lanes.waiting

    def submit(self, job: Job) -> None:
        """Call at once when there is a free call, else queue."""
        if self._closed:
            job.done(ServingError(ErrorKind.UNAVAILABLE, "this replica is shutting down"))
            return
        if self._lanes.waiting >= self._limits.max_waiting:
            message = f"{self._lanes.waiting} requests already wait for this replica"
            job.done(ServingError(ErrorKind.OVERLOADED, message))
            return
        self._lanes.put(job)
        self._fill()

    def cancel(self, job: Job) -> None:
        """Drop a job: where it waits, or by cancelling its call."""
        job.cancelled = True
        if task := self._running.get(job):
            task.cancel()

    def stats(self) -> dict[str, float]:
        """Load since the last call; see `Batcher.stats`. Busy is the share of calls that were open."""
        now = time.monotonic()
        elapsed = max(now - self._observed_from, 1e-9)
        latencies = sorted(self._latencies)
        stats = {
            "in_flight": float(len(self._running) + self._lanes.waiting),
            "queued": float(self._lanes.waiting),
            "busy_fraction": min(1.0, self._busy_s / elapsed / self._backend.max_concurrency),
            "p95_ms": latencies[int(len(latencies) * 0.95)] * 1e3 if latencies else 0.0,
            "batch_rows": 1.0,
            "batch_limit": 1.0,
        }
        self._observed_from, self._busy_s = now, 0.0
        self._latencies.clear()
        return stats

    def close(self) -> None:
        """Refuse what waits and cancel what runs."""
        self._closed = True
        for job in (*self._lanes.drain(), *self._running):
            self.cancel(job)
            job.done(ServingError(ErrorKind.UNAVAILABLE, "this replica is shutting down"))

    def _fill(self) -> None:
        while self._lanes.waiting and len(self._running) < self._backend.max_concurrency:
            batch = self._lanes.take(1, time.monotonic())
            for job in batch.expired:
                job.done(ServingError(ErrorKind.DEADLINE, "the deadline passed while the request waited for the model"))
            for job in batch.jobs:
                self._running[job] = task = asyncio.get_running_loop().create_task(self._run(job))
                task.add_done_callback(partial(self._finished, job))

    def _finished(self, job: Job, _task: asyncio.Task[None]) -> None:
        self._running.pop(job, None)
        if not self._closed:
            self._fill()

    async def _run(self, job: Job) -> None:
        started = time.monotonic()
        left_s = job.deadline - started
        outcome: Result | ServingError
        try:
            limit_s = left_s if math.isfinite(left_s) else _ENDLESS_S
            outputs = await self._backend.infer_async(stack([job]), job.plan.outputs, limit_s)
            (packed,) = scatter([job.plan], outputs, self._bfloat16)
            run_s = time.monotonic() - started
            outcome = Result(packed, started - job.arrived, run_s, 1)
            self._latencies.append(started - job.arrived + run_s)
            if self._on_run is not None:
                self._on_run([job], job.plan.rows, started, run_s)
        except ServingError as error:
            outcome = error
        except KeyError as error:
            outcome = ServingError(ErrorKind.MODEL_FAILED, f"the model did not answer with output {error}")
        except Exception as error:  # noqa: BLE001 - whatever a client library raises is the model's failure, not ours
            outcome = ServingError(ErrorKind.MODEL_FAILED, f"the model failed: {type(error).__name__}: {error}")
        finally:
            self._busy_s += time.monotonic() - started
        if not job.cancelled:
            self._running.pop(job, None)  # `close` answers what it finds there
            job.done(outcome)
