"""What the comparisons read: counts of events, histograms and moments. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of `total` requests were events (failed, disagreed, converted)."""

    total: int
    events: int

    def __post_init__(self) -> None:
        if not 0 <= self.events <= self.total:
            raise ValueError(f"{self.events} events of {self.total}")

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.total + other.total, self.events + other.events)

    @property
    def rate(self) -> float:
        """Share of events, 0 when there is nothing yet."""
        return self.events / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations per bucket: one count per upper bound (ascending, > 0), then one for everything above the last."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.bounds or self.bounds[0] <= 0 or any(low >= high for low, high in pairwise(self.bounds)):
            raise ValueError(f"bounds must be positive and ascend: {self.bounds}")
        if len(self.counts) != len(self.bounds) + 1 or min(self.counts) < 0:
            raise ValueError(f"{len(self.bounds)} bounds need {len(self.bounds) + 1} counts, none negative")

    @property
    def total(self) -> int:
        """How many observations there are."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and sum of squared deviations of real values; they add up exactly, in any grouping (Chan et al.)."""

    total: int = 0
    mean: float = 0.0
    deviation: float = 0.0
    """Sum of (value - mean)**2."""

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return the moments of these values."""
        known = list(values)
        mean = sum(known) / len(known) if known else 0.0
        return cls(len(known), mean, sum((value - mean) ** 2 for value in known))

    def __add__(self, other: Moments) -> Moments:
        total = self.total + other.total
        if total == 0:
            return self
        gap = other.mean - self.mean
        weight = other.total / total
        deviation = self.deviation + other.deviation + gap * gap * self.total * weight
        return Moments(total, self.mean + gap * weight, deviation)

    @property
    def variance(self) -> float:
        """Unbiased variance of one value; 0 of fewer than two."""
        return self.deviation / (self.total - 1) if self.total > 1 else 0.0


NOTHING: Final = Moments()
"""The moments of no value."""
