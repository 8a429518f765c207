"""Counters, gauges and histograms that cost plain arithmetic. Pure.

Ask the registry for a handle once, when a variant, replica or connection comes into being, and keep it: asking costs a
look-up, using costs an addition. Nothing is locked, so all handles of a registry belong to one thread.
"""

from __future__ import annotations

import itertools
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from serving.telemetry.catalog import LABEL_OVERFLOWS
from serving.telemetry.metric import CounterMetric, GaugeMetric, HistogramMetric, Metric
from serving.telemetry.snapshot import Distribution, LabelValues, Snapshot

#: Label value of the one series that takes what comes after a metric's last free label set.
OTHER: Final = "other"

_PROCESS: Final = re.compile(r"[A-Za-z0-9][\w.#-]{0,199}", re.ASCII)

_Handle = TypeVar("_Handle")


class Counter:
    """A sum that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        """Count `amount`, which must not be negative."""
        self.value += amount

    def raise_to(self, total: float) -> None:
        """Follow a total that is kept elsewhere; a smaller one than before changes nothing."""
        self.value = max(self.value, total)


class Gauge:
    """A value of this moment; absent from the scrape until it is set, and after `clear`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = math.nan

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value

    def clear(self) -> None:
        """Have nothing to say any more, e.g. of a variant that has left the policy."""
        self.value = math.nan


class Histogram:
    """Observations counted per bucket, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0

    def observe(self, value: float) -> None:
        """Count a finite `value` in the first bucket whose bound is not below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Registry:
    """All metrics of one process.

    Label values come partly from clients, so each metric takes at most `max_label_sets` of them; the rest share one
    series whose labels are all `OTHER`, and are counted by `LABEL_OVERFLOWS`.
    """

    def __init__(self, process: str, *, max_label_sets: int = 2000) -> None:
        if not _PROCESS.fullmatch(process):
            raise ValueError(f"{process!r} cannot name a process: it becomes part of a file name")
        self.process = process
        """This process to people, e.g. `router-0`: label of per-process gauges and part of the file name."""
        self._max_label_sets = max_label_sets
        self._counters: dict[CounterMetric, dict[LabelValues, Counter]] = {}
        self._gauges: dict[GaugeMetric, dict[LabelValues, Gauge]] = {}
        self._histograms: dict[HistogramMetric, dict[LabelValues, Histogram]] = {}
        self._refreshers: list[Callable[[], None]] = []
        self._overflows = self.counter(LABEL_OVERFLOWS)

    def counter(self, metric: CounterMetric, **labels: str) -> Counter:
        """Return the counter of these labels: always the same handle for the same labels.

        Raises:
            ValueError: the labels are not exactly those that the metric declares.
        """
        return self._handle(self._counters.setdefault(metric, {}), metric, labels, Counter)

    def gauge(self, metric: GaugeMetric, **labels: str) -> Gauge:
        """Return the gauge of these labels, as `counter` does."""
        return self._handle(self._gauges.setdefault(metric, {}), metric, labels, Gauge)

    def histogram(self, metric: HistogramMetric, **labels: str) -> Histogram:
        """Return the histogram of these labels, as `counter` does."""
        series = self._histograms.setdefault(metric, {})
        return self._handle(series, metric, labels, lambda: Histogram(metric.bounds))

    def replace(self, metric: GaugeMetric, values: Mapping[LabelValues, float]) -> None:
        """Show exactly these series of a gauge: a variant that is not among them any more leaves the scrape.

        Handles of the same metric lose their series, so use the one or the other. What goes beyond `max_label_sets` is
        left out and counted.

        Raises:
            ValueError: label values are not one for each label that the metric declares.
        """
        if any(len(labels) != len(metric.labels) for labels in values):
            raise ValueError(f"{metric.name} has the labels {metric.labels}")
        series = self._gauges[metric] = {}
        for labels, value in itertools.islice(values.items(), self._max_label_sets):
            series[labels] = gauge = Gauge()
            gauge.set(value)
        self._overflows.add(len(values) - len(series))

    def before_snapshot(self, refresh: Callable[[], None]) -> None:
        """Have `refresh` called before each snapshot, to set gauges from what is known anyway (a queue's length)."""
        self._refreshers.append(refresh)

    def snapshot(self) -> Snapshot:
        """Return what has been counted since the start of the process."""
        for refresh in self._refreshers:
            refresh()
        return Snapshot(
            counters={
                metric.name: {labels: counter.value for labels, counter in series.items()}
                for metric, series in self._counters.items()
            },
            gauges={metric.name: self._present(metric, series) for metric, series in self._gauges.items()},
            histograms={
                (metric.name, metric.bounds): {
                    labels: Distribution(tuple(histogram.counts), histogram.sum) for labels, histogram in series.items()
                }
                for metric, series in self._histograms.items()
            },
        )

    def _present(self, metric: GaugeMetric, series: dict[LabelValues, Gauge]) -> dict[LabelValues, float]:
        suffix = (self.process,) if metric.per_process else ()
        return {labels + suffix: gauge.value for labels, gauge in series.items() if not math.isnan(gauge.value)}

    def _handle(
        self, series: dict[LabelValues, _Handle], metric: Metric, labels: dict[str, str], create: Callable[[], _Handle]
    ) -> _Handle:
        if len(labels) != len(metric.labels) or not labels.keys() >= set(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, not {tuple(labels)}")
        values = tuple(labels[name] for name in metric.labels)
        handle = series.get(values)
        if handle is None and len(series) >= self._max_label_sets:
            self._overflows.add()
            values = (OTHER,) * len(values)
            handle = series.get(values)
        if handle is None:
            handle = series[values] = create()
        return handle
