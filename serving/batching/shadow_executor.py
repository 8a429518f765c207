"""Runs a version's shadow work in a thread that yields, for as long as nobody waits for this version's answers.

A version that is only shadowed may be as slow and as hungry as it likes: its runs take the processor time that is left
over. One that answers primaries too runs shadows behind them, in the ordinary way: there a thread that yields could
hold the interpreter's lock while a primary waits for it.
"""

from __future__ import annotations

from typing import Final

from serving.backends.backend import Backend
from serving.batching.batcher import Batcher, BatchLimits, OnRun
from serving.batching.job import Job

#: A version with a primary call in this time answers clients; after it, it is taken for one that is only shadowed.
PRIMARIES_LAST_S: Final = 10.0


class ShadowsApart:
    """Two batchers over one backend; fits where `Batcher` fits. A primary never waits for a run that yields."""

    def __init__(
        self, backend: Backend, limits: BatchLimits, *, expected_run_s: float = 0.0, on_run: OnRun | None = None
    ) -> None:
        self.ordinary = Batcher(backend, limits, expected_run_s=expected_run_s, on_run=on_run)
        self.yielding = Batcher(backend, limits, expected_run_s=expected_run_s, on_run=on_run, yields=True)
        self._answers_until = float("-inf")

    def __repr__(self) -> str:
        return f"<ShadowsApart {self.ordinary}, yielding {self.yielding}>"

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return self.ordinary.idle and self.yielding.idle

    @property
    def waiting(self) -> int:
        """Jobs that wait for a run."""
        return self.ordinary.waiting + self.yielding.waiting

    def submit(self, job: Job) -> None:
        """Queue a job where its kind of work is done now."""
        if not job.shadow:
            self._answers_until = job.arrived + PRIMARIES_LAST_S
        is_apart = job.shadow and job.arrived > self._answers_until
        (self.yielding if is_apart else self.ordinary).submit(job)

    def cancel(self, job: Job) -> None:
        """Drop a job; see `Batcher.cancel`."""
        self.ordinary.cancel(job)  # marks the job, wherever it waits

    def stats(self) -> dict[str, float]:
        """Load since the last call; see `Batcher.stats`.

        Counts add up; of the rest, the larger figure is told.
        """
        ordinary, yielding = self.ordinary.stats(), self.yielding.stats()
        added = {name: ordinary[name] + yielding[name] for name in ("in_flight", "queued")}
        return {name: max(ordinary[name], yielding[name]) for name in ordinary} | added

    def close(self) -> None:
        """Refuse what waits; runs in progress still answer."""
        self.ordinary.close()
        self.yielding.close()
