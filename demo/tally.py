"""What the replay saw, per variant: rates and quantiles of the last seconds, errors of the whole run. Pure."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

#: Shown for requests that got no answer, and so no variant.
UNANSWERED = "(none)"


class Answer(NamedTuple):
    """One request as its sender saw it end."""

    at: float
    """Monotonic seconds."""
    variant: str
    version: str
    latency_s: float
    """From the moment it was due, so that a late sender counts as latency too."""
    ok: bool


class VariantRow(NamedTuple):
    """One variant over the window; `errors` and `total` over the whole run."""

    variant: str
    version: str
    per_second: float
    share: float
    """Of the answers in the window, 0 to 1."""
    p50_s: float
    p95_s: float
    p99_s: float
    errors: int
    total: int


class Tally:
    """Answers of the last `window_s` seconds, and counts since the start."""

    def __init__(self, window_s: float = 10.0) -> None:
        self.window_s = window_s
        self.missed = 0
        """Requests that were due while every connection and the queue before them were taken: never sent."""
        self._recent: deque[Answer] = deque()
        self._totals: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._started: float | None = None

    def add(self, answer: Answer) -> None:
        """Count an answer; answers come in order of `at`."""
        if self._started is None:
            self._started = answer.at
        self._recent.append(answer)
        self._totals[answer.variant] += 1
        self._errors[answer.variant] += not answer.ok

    def rows(self, now: float) -> list[VariantRow]:
        """Sum up each variant seen, the largest share first."""
        while self._recent and self._recent[0].at <= now - self.window_s:
            self._recent.popleft()
        seconds = min(self.window_s, max(now - (self._started if self._started is not None else now), 1.0))
        rows = [self._row(variant, seconds) for variant in self._totals]
        return sorted(rows, key=lambda row: (-row.share, row.variant))

    @property
    def total(self) -> int:
        """All answers since the start."""
        return self._totals.total()

    @property
    def errors(self) -> int:
        """Answers since the start that were no prediction."""
        return self._errors.total()

    def _row(self, variant: str, seconds: float) -> VariantRow:
        answers = [answer for answer in self._recent if answer.variant == variant]
        latencies = sorted(answer.latency_s for answer in answers)
        return VariantRow(
            variant=variant,
            version=answers[-1].version if answers else "",
            per_second=len(answers) / seconds,
            share=len(answers) / len(self._recent) if self._recent else 0.0,
            p50_s=quantile(latencies, 0.50),
            p95_s=quantile(latencies, 0.95),
            p99_s=quantile(latencies, 0.99),
            errors=self._errors[variant],
            total=self._totals[variant],
        )


def quantile(ordered: Sequence[float], probability: float) -> float:
    """Return the nearest-rank quantile of values in rising order; 0 when there are none.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    if not ordered:
        return 0.0
    return ordered[max(math.ceil(probability * len(ordered)), 1) - 1]
