"""Watches a version under trial for hard failures, look by look."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from router.analysis.counts import Counts
from router.rollout.evidence import Counters, since
from router.rollout.hard_failure import Suspicion, watch

#: How far back the reference looks for trouble that everybody has: seconds.
_RECENT_S = 15.0
#: Requests without which a rate says nothing.
_ENOUGH = 20


class HardWatch:
    """What has gathered against one version. Kept in memory: a successor begins anew, seconds behind."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._suspicion = Suspicion()
        self._origin: Counters | None = None
        self._seen = Counts(0, 0)
        """Since the origin, as far as it has gone into the suspicion."""
        self._looks: deque[tuple[float, Counters]] = deque()

    def look(self, counters: Counters, now: float, *, beside: Collection[int], began: Counters | None = None) -> str:
        """Say why the version must go at once; empty while there is no reason.

        Args:
            counters: of its model.
            now: Unix seconds.
            beside: versions that it is held against.
            began: counters when it got traffic, where that is known: from there on the others are like it.
        """
        self._origin = self._origin or counters
        total, failed = since(counters, self._origin).answered_and_failed({self._version})
        # A failure that is known before its answer is counted waits for it.
        seen = Counts(total - self._seen.total, min(total - self._seen.total, failed - self._seen.events))
        self._seen += seen
        if seen.total:
            self._suspicion = watch(self._suspicion, seen, self._reference(counters, beside, began))
        self._looks.append((now, counters))
        while len(self._looks) > 1 and not 0 <= now - self._looks[0][0] <= _RECENT_S:
            self._looks.popleft()
        return self._suspicion.words if self._suspicion.is_alarm else ""

    def _reference(self, counters: Counters, beside: Collection[int], began: Counters | None) -> Counts:
        """The others' failures: their habit, or what befalls them just now when that is worse."""
        ever = counters.failures_of(beside)
        in_trial = since(counters, began).failures_of(beside) if began else ever
        recent = since(counters, self._looks[0][1]).failures_of(beside) if self._looks else Counts(0, 0)
        habit = in_trial if in_trial.total >= _ENOUGH else ever
        return max(habit, recent, key=lambda counts: counts.rate if counts.total >= _ENOUGH else 0.0)
