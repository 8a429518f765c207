"""Which jobs run next. Pure.

Jobs wait in lanes of like shape, so a batch never mixes what cannot be stacked. The lane whose head has waited longest
goes next; shadows go only when no primary waits. There is no timer: whatever has queued while the model was busy is the
next batch, so an idle replica adds no delay and a loaded one batches by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import NamedTuple

from serving.batching.job import Job


class Batch(NamedTuple):
    """What to run and what to refuse, decided at one moment."""

    jobs: list[Job]
    expired: list[Job]


class Lanes:
    """The waiting jobs of one model."""

    __slots__ = ("_primary", "_shadow", "waiting")

    def __init__(self) -> None:
        self._primary: dict[Hashable, deque[Job]] = {}
        self._shadow: dict[Hashable, deque[Job]] = {}
        self.waiting = 0

    def __repr__(self) -> str:
        return f"<Lanes {self.waiting} waiting in {len(self._primary)} primary, {len(self._shadow)} shadow lanes>"

    def put(self, job: Job) -> None:
        """Let a job wait."""
        lanes = self._shadow if job.shadow else self._primary
        lane = lanes.get(job.plan.lane)
        if lane is None:
            lane = lanes[job.plan.lane] = deque()
        lane.append(job)
        self.waiting += 1

    def is_full(self, max_rows: int) -> bool:
        """Tell whether the next batch is as large as it may be, so far as its number of jobs shows.

        Shadows never are: a primary that comes while they wait goes first.
        """
        return len(next(iter(self._primary.values()), ())) >= max_rows

    def take(self, max_rows: int, now: float) -> Batch:
        """Take the next batch: at most `max_rows` rows of one lane, but always at least one job.

        Cancelled jobs vanish; jobs past their deadline come back as `expired` instead of being run for nobody.
        """
        jobs: list[Job] = []
        expired: list[Job] = []
        while self.waiting and not jobs:
            lanes = self._primary or self._shadow
            key = next(iter(lanes)) if len(lanes) == 1 else min(lanes, key=lambda k: lanes[k][0].arrived)
            lane = lanes[key]
            rows = 0
            while lane:
                job = lane[0]
                if not job.cancelled and now <= job.deadline:
                    if jobs and rows + job.plan.rows > max_rows:
                        break
                    rows += job.plan.rows
                    jobs.append(job)
                elif not job.cancelled:
                    expired.append(job)
                lane.popleft()
                self.waiting -= 1
                if rows >= max_rows:
                    break
            if not lane:
                del lanes[key]
        return Batch(jobs, expired)

    def drain(self) -> list[Job]:
        """Take everything, for refusal at shutdown."""
        jobs = [job for lanes in (self._primary, self._shadow) for lane in lanes.values() for job in lane]
        self._primary, self._shadow, self.waiting = {}, {}, 0
        return [job for job in jobs if not job.cancelled]
