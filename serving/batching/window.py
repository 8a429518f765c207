"""Which jobs run next. Pure.

Jobs wait in lanes of like shape, so a batch never mixes what cannot be stacked. The lane whose head has waited longest
goes next; shadows go only when no primary waits. There is no timer: whatever has queued while the model was busy is the
next batch, so an idle replica adds no delay and a loaded one batches by itself.

A model whose requests cannot be stacked has a lane for each, thousands under load, and turns are taken on the loop. So
lanes are in a heap by the arrival of their heads.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable, Iterator
from itertools import count
from typing import NamedTuple

from serving.batching.job import Job


class Batch(NamedTuple):
    """What to run and what to refuse, decided at one moment."""

    jobs: list[Job]
    expired: list[Job]


class _Queue:
    """The lanes of one priority; false when nothing waits."""

    __slots__ = ("_heads", "_lanes", "_numbers")

    def __init__(self) -> None:
        self._lanes: dict[Hashable, deque[Job]] = {}
        self._heads: list[tuple[float, int, Hashable]] = []
        """A heap with an entry for each lane: when its head arrived, a number of its own, the lane."""
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._lanes)

    def __iter__(self) -> Iterator[Job]:
        return (job for lane in self._lanes.values() for job in lane)

    def put(self, job: Job) -> None:
        """Let a job wait at the end of its lane."""
        key = job.plan.lane
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
            heapq.heappush(self._heads, (job.arrived, next(self._numbers), key))
        lane.append(job)

    @property
    def first(self) -> deque[Job]:
        """The lane whose head has waited longest; there must be one."""
        return self._lanes[self._heads[0][2]]

    def reorder(self) -> None:
        """Give the first lane the place of its new head, or none when it is empty."""
        key = self._heads[0][2]
        lane = self._lanes[key]
        if lane:
            heapq.heapreplace(self._heads, (lane[0].arrived, next(self._numbers), key))
        else:
            heapq.heappop(self._heads)
            del self._lanes[key]


class Lanes:
    """The waiting jobs of one model."""

    __slots__ = ("_primary", "_shadow", "waiting")

    def __init__(self) -> None:
        self._primary = _Queue()
        self._shadow = _Queue()
        self.waiting = 0

    def __repr__(self) -> str:
        return f"<Lanes {self.waiting} waiting in {len(self._primary)} primary, {len(self._shadow)} shadow lanes>"

    def put(self, job: Job) -> None:
        """Let a job wait."""
        (self._shadow if job.shadow else self._primary).put(job)
        self.waiting += 1

    def is_full(self, max_rows: int) -> bool:
        """Tell whether the next batch is as large as it may be, so far as its number of jobs shows.

        Shadows never are: a primary that comes while they wait goes first.
        """
        return bool(self._primary) and len(self._primary.first) >= max_rows

    def take(self, max_rows: int, now: float) -> Batch:
        """Take the next batch: at most `max_rows` rows of one lane, but always at least one job.

        Cancelled jobs vanish; jobs past their deadline come back as `expired` instead of being run for nobody.
        """
        batch = Batch([], [])
        while self.waiting and not batch.jobs:
            queue = self._primary or self._shadow
            self._take_lane(queue.first, batch, max_rows, now)
            queue.reorder()
        return batch

    def _take_lane(self, lane: deque[Job], batch: Batch, max_rows: int, now: float) -> None:
        rows = 0
        while lane and rows < max_rows:
            job = lane[0]
            if not job.cancelled and now <= job.deadline:
                if batch.jobs and rows + job.plan.rows > max_rows:
                    return
                rows += job.plan.rows
                batch.jobs.append(job)
            elif not job.cancelled:
                batch.expired.append(job)
            lane.popleft()
            self.waiting -= 1

    def drain(self) -> list[Job]:
        """Take everything, for refusal at shutdown."""
        jobs = [job for queue in (self._primary, self._shadow) for job in queue if not job.cancelled]
        self._primary, self._shadow, self.waiting = _Queue(), _Queue(), 0
        return jobs
