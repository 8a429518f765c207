"""ADWIN: a window that forgets when its two ends no longer agree; the second opinion on a stream of losses. Pure.

Bifet, Gavaldà: "Learning from time-changing data with adaptive windowing", SDM 2007. An exponential histogram keeps the
window in O(log n); whenever two parts of it differ by more than chance allows (Bernstein's bound at confidence
delta / ln n), the older part is dropped. It knows no baseline and no severity, and states no run length; what it is
good at is to say *that* something changed, and since when.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Final

import msgspec

_PER_ROW: Final = 5
"""Buckets of one size before two of them merge."""
_LEAST_PART: Final = 5
_GRACE: Final = 10
_CLOCK: Final = 32


class AdwinState(msgspec.Struct, frozen=True):
    """The window as a value."""

    rows: tuple[tuple[tuple[int, float, float], ...], ...] = ()
    """By size of buckets; count, total and deviation of each."""
    seen: int = 0


class Bucket:
    """A run of values."""

    __slots__ = ("count", "deviation", "total")

    def __init__(self, count: int, total: float, deviation: float) -> None:
        self.count = count
        self.total = total
        self.deviation = deviation
        """Sum of squared distances from the mean."""

    def joined(self, other: Bucket) -> Bucket:
        """Return both runs as one."""
        count = self.count + other.count
        gap = self.total / self.count - other.total / other.count
        deviation = self.deviation + other.deviation + gap * gap * self.count * other.count / count
        return Bucket(count, self.total + other.total, deviation)


class Adwin:
    """The window; values are best in [0, 1]."""

    def __init__(self, delta: float = 0.002, state: AdwinState | None = None) -> None:
        self.delta = delta
        self._rows: list[list[Bucket]] = [[]]
        """By size, 1, 2, 4, ...; within a row the oldest first."""
        self._whole: Bucket | None = None
        self._seen = 0
        if state is not None and state.rows:
            self._rows = [[Bucket(*bucket) for bucket in row] for row in state.rows]
            self._seen = state.seen
            for bucket in (bucket for row in reversed(self._rows) for bucket in row):
                self._whole = self._whole.joined(bucket) if self._whole else bucket

    @property
    def state(self) -> AdwinState:
        """The window as a value, to go on from."""
        rows = [tuple([(each.count, each.total, each.deviation) for each in row]) for row in self._rows]
        return AdwinState(tuple(rows), self._seen)

    @property
    def seen(self) -> int:
        """Values taken so far."""
        return self._seen

    @property
    def width(self) -> int:
        """Values in the window: how long ago the last change was."""
        return self._whole.count if self._whole else 0

    @property
    def mean(self) -> float:
        """Mean of the window; 0 when empty."""
        return self._whole.total / self._whole.count if self._whole else 0.0

    def update(self, value: float) -> bool:
        """Take a value; return whether the window shrank, which is asked every 32 values."""
        self._seen += 1
        bucket = Bucket(1, value, 0.0)
        self._whole = self._whole.joined(bucket) if self._whole else bucket
        self._rows[0].append(bucket)
        self._compress()
        changed = False
        if self._seen % _CLOCK == 0 and self.width > _GRACE:
            while self._disagrees():
                self._forget_oldest()
                changed = True
        return changed

    def _compress(self) -> None:
        row = 0
        while len(self._rows[row]) > _PER_ROW:
            if row + 1 == len(self._rows):
                self._rows.append([])
            first, second = self._rows[row].pop(0), self._rows[row].pop(0)
            self._rows[row + 1].append(first.joined(second))
            row += 1

    def _disagrees(self) -> bool:
        """Whether some cut leaves two parts whose means differ by more than chance."""
        whole = self._whole
        if whole is None:
            return False
        confidence = log(2 * log(whole.count) / self.delta)
        variance = whole.deviation / whole.count
        old_count, old_total = 0, 0.0
        for bucket in (bucket for row in reversed(self._rows) for bucket in row):
            old_count += bucket.count
            old_total += bucket.total
            new_count = whole.count - old_count
            if new_count < _LEAST_PART:
                return False
            if old_count < _LEAST_PART:
                continue
            gap = abs(old_total / old_count - (whole.total - old_total) / new_count)
            share = 1 / (old_count - _LEAST_PART + 1) + 1 / (new_count - _LEAST_PART + 1)
            if gap > sqrt(2 * share * variance * confidence) + 2 / 3 * confidence * share:
                return True
        return False

    def _forget_oldest(self) -> None:
        oldest = self._rows[-1].pop(0)
        while len(self._rows) > 1 and not self._rows[-1]:
            self._rows.pop()
        whole = self._whole
        if whole is None or whole.count == oldest.count:
            self._whole = None
            return
        count, total = whole.count - oldest.count, whole.total - oldest.total
        gap = oldest.total / oldest.count - total / count
        deviation = whole.deviation - oldest.deviation - gap * gap * oldest.count * count / whole.count
        self._whole = Bucket(count, total, max(0.0, deviation))
