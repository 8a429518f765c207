"""How a metric is declared: name, help text, labels, and the rule by which processes merge. Pure.

The values of a metric are counted by handles of `serving.telemetry.instruments`; the declarations of the gateway stand
in `serving.telemetry.catalog`. A name is the one that a scrape shows: counters end in `_total`, and units are base
units named in full (`_seconds`, `_bytes`, `_ratio`).
"""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec


class CounterMetric(msgspec.Struct, frozen=True):
    """A sum that only grows. Processes are added, and those that have ended stay in the sum."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


class GaugeMetric(msgspec.Struct, frozen=True):
    """A value of this moment. It leaves the scrape together with the process that set it."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    per_process: bool = False
    """Show each process by itself, under the further label `process`; otherwise processes are added."""


class HistogramMetric(msgspec.Struct, frozen=True):
    """A distribution counted in fixed buckets. Processes are added, and those that have ended stay.

    Raises:
        ValueError: `bounds` are not finite and strictly increasing.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    """Inclusive upper bounds of the buckets; one more bucket, up to infinity, follows the last."""

    def __post_init__(self) -> None:
        if not self.bounds or not all(map(math.isfinite, self.bounds)):
            raise ValueError(f"{self.name}: bounds must be finite numbers, at least one")
        if any(low >= high for low, high in pairwise(self.bounds)):
            raise ValueError(f"{self.name}: bounds must increase strictly")


Metric = CounterMetric | GaugeMetric | HistogramMetric
