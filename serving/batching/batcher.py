"""The shell around the batching core: owns the queue, the thread and the clock of one model.

Tiny models run on the event loop, where a run costs less than handing it to a thread would; slower ones run in one
executor thread while the loop goes on collecting the next batch. Work that yields is never on the loop. A batch that is
full while another one runs is handed over ahead, so that the model goes from one to the next without waiting for the
loop. A failing batch is taken apart and its members are run alone, so that no request pays for its neighbour.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import msgspec

from serving.backends.backend import Backend
from serving.batching.assembly import bfloat16_outputs, scatter, stack
from serving.batching.idle_priority import yield_processor
from serving.batching.job import Job, Result
from serving.batching.sizing import next_limit, next_row_s
from serving.batching.window import Lanes
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import Buffer

#: Runs shorter than this stay on the event loop: a thread hop costs about 100 µs, twice.
INLINE_BELOW_S: Final = 0.001
#: Latencies kept for the percentiles that autoscaling looks at.
KEPT_LATENCIES: Final = 512


class BatchLimits(msgspec.Struct, frozen=True):
    """How far a batch and the queue before it may grow."""

    max_rows: int = 64
    """Ceiling of the adaptive row limit; 1 switches batching off."""
    objective_s: float = 0.05
    """Seconds that one run may take before the limit shrinks, unless a run of one row takes about as long."""
    max_waiting: int = 4096
    """Jobs that may queue; more are refused as overload."""


#: Runs that the thread may hold: one that goes on and one that follows.
HANDED_OVER_MOST: Final = 2
_TOO_LATE: Final = "the deadline passed while the request waited for the model"


class Outcome(NamedTuple):
    """A finished run."""

    jobs: Sequence[Job]
    answers: list[list[Buffer]] | ServingError
    """Packed, one for each job; or why there are none."""
    started: float
    ended: float
    """Both monotonic seconds."""


OnRun = Callable[[Sequence[Job], int, float, float], None]
"""Told of each successful run: its jobs, their rows, when it began (monotonic seconds) and how long it took."""


class Batcher:
    """Runs one backend's jobs in batches, one run at a time."""

    def __init__(
        self,
        backend: Backend,
        limits: BatchLimits,
        *,
        expected_run_s: float = 0.0,
        on_run: OnRun | None = None,
        yields: bool = False,
    ) -> None:
        """Take a loaded backend.

        Args:
            backend: loaded; with a batcher that yields beside an ordinary one, it is called from two threads.
            limits: how far batches and the queue may grow.
            expected_run_s: seconds that a run of one row takes, as warming up has shown; 0 where it has not.
            on_run: told of each run.
            yields: run only in a thread that leaves the processor to whoever else wants it.
        """
        self._backend = backend
        self._bfloat16 = bfloat16_outputs(backend.signature)
        self._on_run = on_run
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._lanes = Lanes()
        self._limit = limits.max_rows
        self._run_ewma_s = self._row_s = expected_run_s
        self._yields = yields
        self._executor: ThreadPoolExecutor | None = None
        self._handed_over = 0
        self._scheduled = False
        self._closed = False
        self._busy_s = 0.0
        self._observed_from = time.monotonic()
        self._latencies: deque[float] = deque(maxlen=KEPT_LATENCIES)
        self._rows_run = 0
        self._runs = 0
        self._in_run = 0

    def __repr__(self) -> str:
        return f"<Batcher {'idle' if self.idle else 'busy'}, {self._lanes.waiting} waiting, limit {self._limit} rows>"

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self._handed_over and not self._lanes.waiting

    def submit(self, job: Job) -> None:
        """Queue a job; it runs at the end of this turn of the loop, with all that arrives in the same turn."""
        if self._closed:
            job.done(ServingError(ErrorKind.UNAVAILABLE, "this replica is shutting down"))
            return
        if self._lanes.waiting >= self._limits.max_waiting:
            message = f"{self._lanes.waiting} requests already wait for this replica"
            job.done(ServingError(ErrorKind.OVERLOADED, message))
            return
        self._lanes.put(job)
        if not self._scheduled and (not self._handed_over or self._may_start):
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def cancel(self, job: Job) -> None:
        """Drop a job: it vanishes when its turn comes; a run in progress cannot be stopped."""
        job.cancelled = True

    @property
    def waiting(self) -> int:
        """Jobs that wait for a run."""
        return self._lanes.waiting

    def stats(self) -> dict[str, float]:
        """Load since the last call, for autoscaling: counts, share of time busy, 95th percentile in ms."""
        now = time.monotonic()
        elapsed = max(now - self._observed_from, 1e-9)
        latencies = sorted(self._latencies)
        stats = {
            "in_flight": float(self._in_run + self._lanes.waiting),
            "queued": float(self._lanes.waiting),
            "busy_fraction": min(1.0, self._busy_s / elapsed),
            "p95_ms": latencies[int(len(latencies) * 0.95)] * 1e3 if latencies else 0.0,
            "batch_rows": self._rows_run / self._runs if self._runs else 0.0,
            "batch_limit": float(self._limit),
        }
        self._observed_from, self._busy_s, self._rows_run, self._runs = now, 0.0, 0, 0
        self._latencies.clear()
        return stats

    def close(self) -> None:
        """Refuse what waits; a run in progress still answers. The backend stays open."""
        self._closed = True
        for job in self._lanes.drain():
            job.done(ServingError(ErrorKind.UNAVAILABLE, "this replica is shutting down"))
        if self._executor:
            self._executor.shutdown(wait=False)

    @property
    def _runs_inline(self) -> bool:
        return self._run_ewma_s < INLINE_BELOW_S and not self._yields and not self._handed_over

    @property
    def _may_start(self) -> bool:
        """The model is free, or a batch that can grow no more may queue behind the one that runs."""
        if not self._handed_over:
            return True
        return self._handed_over < HANDED_OVER_MOST and self._lanes.is_full(self._limit)

    def _turn(self) -> None:
        """Start a run of what waits; and one ahead when there is enough for it."""
        self._scheduled = False
        while self._lanes.waiting and self._may_start:
            batch = self._lanes.take(self._limit, time.monotonic())
            for job in batch.expired:
                job.done(ServingError(ErrorKind.DEADLINE, _TOO_LATE))
            if not batch.jobs:
                return
            self._in_run += len(batch.jobs)
            if self._runs_inline:
                self._settle([self._run(batch.jobs)])
                return
            self._hand_over([batch.jobs])

    def _hand_over(self, batches: Sequence[Sequence[Job]]) -> None:
        """Have the thread run batches one after the other."""
        if self._executor is None:
            initializer = yield_processor if self._yields else None
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="model", initializer=initializer)
        self._handed_over += 1
        future = self._loop.run_in_executor(self._executor, lambda: [self._run_in_turn(jobs) for jobs in batches])
        future.add_done_callback(self._come_back)

    def _come_back(self, done: asyncio.Future[list[Outcome]]) -> None:
        self._handed_over -= 1
        self._settle(done.result())

    def _run_in_turn(self, jobs: Sequence[Job]) -> Outcome:
        """Run a batch that may have waited for the run before it, unless nobody waits for it any more."""
        now = time.monotonic()
        if all(job.cancelled or job.deadline < now for job in jobs):
            return Outcome(jobs, ServingError(ErrorKind.DEADLINE, _TOO_LATE), now, now)
        return self._run(jobs)

    def _run(self, jobs: Sequence[Job]) -> Outcome:
        """Run a batch; returns its failure as a value. Called on the loop or in the thread."""
        started = time.monotonic()
        answers: list[list[Buffer]] | ServingError
        try:
            outputs = self._backend.infer(stack(jobs), jobs[0].plan.outputs)
            answers = scatter([job.plan for job in jobs], outputs, self._bfloat16)
        except ServingError as error:
            answers = error
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises is the model's failure, not ours
            answers = ServingError(ErrorKind.MODEL_FAILED, f"the model failed: {type(error).__name__}: {error}")
        return Outcome(jobs, answers, started, time.monotonic())

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        """Adapt to finished runs, start the next one, and only then answer."""
        for outcome in outcomes:
            self._learn(outcome)
        if self._lanes.waiting and not self._scheduled and not self._closed:
            if self._runs_inline:
                self._scheduled = True
                self._loop.call_soon(self._turn)
            else:
                self._turn()
        for outcome in outcomes:
            self._answer(outcome)

    def _learn(self, outcome: Outcome) -> None:
        run_s = outcome.ended - outcome.started
        self._in_run -= len(outcome.jobs)
        self._busy_s += run_s
        has_failed = isinstance(outcome.answers, ServingError)
        if run_s > self._run_ewma_s or not has_failed:  # failing quickly makes no quick model
            self._run_ewma_s += 0.2 * (run_s - self._run_ewma_s)
        if has_failed:
            return
        rows = sum([job.plan.rows for job in outcome.jobs])
        self._rows_run += rows
        self._runs += 1
        self._row_s = next_row_s(self._row_s, rows=rows, run_s=run_s)
        limits = self._limits
        self._limit = next_limit(
            self._limit,
            rows=rows,
            run_s=run_s,
            row_s=self._row_s,
            objective_s=limits.objective_s,
            ceiling=limits.max_rows,
        )
        if self._on_run is not None:
            self._on_run(outcome.jobs, rows, outcome.started, run_s)

    def _answer(self, outcome: Outcome) -> None:
        jobs, answers, started, ended = outcome
        if isinstance(answers, ServingError):
            self._answer_failure(jobs, answers)
            return
        run_s, size = ended - started, len(jobs)
        for job, packed in zip(jobs, answers, strict=True):
            self._latencies.append(ended - job.arrived)
            if not job.cancelled:
                job.done(Result(packed, started - job.arrived, run_s, size))

    def _answer_failure(self, jobs: Sequence[Job], error: ServingError) -> None:
        """Tell a single request that it failed; try the members of a batch alone."""
        if len(jobs) == 1 or self._closed:
            for job in jobs:
                if not job.cancelled:
                    job.done(error)
            return
        self._in_run += len(jobs)
        alone = [[job] for job in jobs]
        if self._runs_inline:
            self._settle([self._run(each) for each in alone])
        else:
            self._hand_over(alone)
