"""Watches a version under trial for hard failures, look by look.

Errors are counted by routers. Rows that are not numbers are counted by replicas, which do not know for whom they ran:
a shadow's copies, warm-up and probes have such rows as well. So rows count against a version only once somebody has
been answered and late rows of copies have come in, and against no more answers than came with them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

from router.analysis.counts import Counts
from router.rollout.advance import SETTLE_S
from router.rollout.evidence import Counters, since
from router.rollout.hard_failure import Suspicion, watch

#: How far back the reference looks for trouble that everybody has: seconds.
_RECENT_S: Final = 15.0
#: Requests without which a rate says nothing.
_ENOUGH: Final = 20
#: Rows that are not numbers per answer of the reference from which on they are how this model answers.
_USUAL: Final = 0.5


class HardWatch:
    """What has gathered against one version since its share was raised.

    Kept in memory: a successor begins anew, seconds behind.
    """

    def __init__(self, version: int) -> None:
        self._version = version
        self._suspicion = Suspicion()
        self._began_at: float | None = None
        self._had_rows = False
        """Copies or probes had rows that were not numbers before the share was raised: more may be under way."""
        self._is_answering = False
        self._rows_ahead = 0
        """Rows that were not numbers, whose answers the routers have not published yet."""
        self._looks: deque[tuple[float, Counters]] = deque()

    def look(self, counters: Counters, now: float, *, beside: Collection[int], began: Counters | None = None) -> str:
        """Say why the version must go at once; empty while there is no reason.

        Args:
            counters: of its model.
            now: Unix seconds.
            beside: versions that it is held against.
            began: counters when it got traffic, where that is known: from there on the others are like it.
        """
        if self._began_at is None:
            self._began_at, self._had_rows = now, counters.rows_of({self._version}) > 0
        if self._is_incomplete(counters, now, {self._version, *beside}):
            return self._words
        fresh = since(counters, self._looks[-1][1] if self._looks else counters)
        errors = fresh.errors_of({self._version})
        self._is_answering = self._is_answering or errors.total > 0
        can_count_rows = self._is_answering and not self._settles(now)
        rows = self._rows_ahead + fresh.rows_of({self._version}) if can_count_rows else 0
        if errors.total:
            self._hold_against(errors, rows, self._reference(counters, beside, began), beside)
        self._rows_ahead = 0 if errors.total else rows
        self._looks.append((now, counters))
        while len(self._looks) > 1 and not 0 <= now - self._looks[0][0] <= _RECENT_S:
            self._looks.popleft()
        return self._words

    @property
    def _words(self) -> str:
        return self._suspicion.words if self._suspicion.is_alarm else ""

    def _is_incomplete(self, counters: Counters, now: float, versions: Collection[int]) -> bool:
        """Tell whether counters have stepped back: a file could not be read, and when it can be is no news in whole.

        Those that stay behind have begun anew.
        """
        if not self._looks or not 0 <= now - self._looks[-1][0] < _RECENT_S:
            return False
        lost = since(self._looks[-1][1], counters)
        return lost.answers_of(versions).total > 0 or lost.rows_of(versions) > 0

    def _hold_against(self, errors: Counts, rows: int, reference: Counters, beside: Collection[int]) -> None:
        """Add what was seen since the last look; rows only where the others do not answer so too."""
        if _are_rows_usual(reference, beside):
            self._suspicion = watch(self._suspicion, errors, reference.errors_of(beside))
            return
        seen = Counts(errors.total, min(errors.total, errors.events + rows))
        self._suspicion = watch(self._suspicion, seen, reference.failures_of(beside))

    def _settles(self, now: float) -> bool:
        """Tell whether rows of copies that were under way when the share was raised may still be counted."""
        assert self._began_at is not None, "set by the first look"
        return self._had_rows and 0 <= now - self._began_at < SETTLE_S

    def _reference(self, counters: Counters, beside: Collection[int], began: Counters | None) -> Counters:
        """Choose the time by which the others are judged: their habit, or just now when that is worse."""
        in_trial = since(counters, began) if began else counters
        habit = in_trial if in_trial.errors_of(beside).total >= _ENOUGH else counters
        recent = since(counters, self._looks[0][1]) if self._looks else Counters()
        return max(habit, recent, key=lambda of: _rate(of.failures_of(beside)))


def _rate(counts: Counts) -> float:
    return counts.rate if counts.total >= _ENOUGH else 0.0


def _are_rows_usual(reference: Counters, beside: Collection[int]) -> bool:
    """Tell whether the others answer so too: then infinity, or NaN, is a word of this model's language."""
    answers = reference.errors_of(beside).total
    return answers >= _ENOUGH and reference.rows_of(beside) >= _USUAL * answers
