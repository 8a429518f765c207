"""Watches each version under trial for hard failures, look by look."""

from __future__ import annotations

from collections import deque

from router.analysis.counts import Counts
from router.rollout.evidence import Counters, since
from router.rollout.hard_failure import Suspicion, watch
from router.rollout.rollout import Rollout

#: How far back the reference looks for trouble that everybody has: seconds.
_RECENT_S = 15.0
#: Requests without which a rate says nothing.
_ENOUGH = 20


class HardWatch:
    """What has gathered against one rollout's version. Kept in memory: a successor begins anew, seconds behind."""

    def __init__(self) -> None:
        self._suspicion = Suspicion()
        self._origin: Counters | None = None
        self._seen = Counts(0, 0)
        """Since the origin, as far as it has gone into the suspicion."""
        self._looks: deque[tuple[float, Counters]] = deque()

    def look(self, rollout: Rollout, counters: Counters, now: float) -> str:
        """Say why the version must go at once; empty while there is no reason."""
        self._origin = self._origin or counters
        total, failed = since(counters, self._origin).answered_and_failed({rollout.version})
        # A failure that is known before its answer is counted waits for it.
        seen = Counts(total - self._seen.total, min(total - self._seen.total, failed - self._seen.events))
        self._seen += seen
        if seen.total:
            self._suspicion = watch(self._suspicion, seen, self._reference(rollout, counters))
        self._looks.append((now, counters))
        while len(self._looks) > 1 and not 0 <= now - self._looks[0][0] <= _RECENT_S:
            self._looks.popleft()
        return self._suspicion.words if self._suspicion.is_alarm else ""

    def _reference(self, rollout: Rollout, counters: Counters) -> Counts:
        """The old version's failures: its habit, or what befalls it just now when that is worse."""
        old = {rollout.stable_version}
        ever = counters.failures_of(old)
        in_rollout = since(counters, rollout.origin).failures_of(old) if rollout.origin else ever
        recent = since(counters, self._looks[0][1]).failures_of(old) if self._looks else Counts(0, 0)
        habit = in_rollout if in_rollout.total >= _ENOUGH else ever
        return max(habit, recent, key=lambda counts: counts.rate if counts.total >= _ENOUGH else 0.0)
