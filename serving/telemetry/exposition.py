"""Renders a merged snapshot in the text formats of Prometheus, by the public classes of prometheus_client.

Only what the catalog declares is shown, with its help texts and label names: series of another release, left behind in
a file, have nothing to say here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from serving.telemetry.catalog import CATALOG
from serving.telemetry.metric import CounterMetric, GaugeMetric, HistogramMetric
from serving.telemetry.snapshot import Distribution, Snapshot


def render(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
    """Return the body of a scrape and its content type, in the format that the `Accept` header asks for."""
    encode, content_type = choose_encoder(accept)
    return encode(_Families(snapshot)), content_type


class _Families:
    """A snapshot as prometheus_client's `Collector`."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for metric in CATALOG:
            match metric:
                case CounterMetric():
                    yield self._counter(metric)
                case GaugeMetric():
                    yield self._gauge(metric)
                case HistogramMetric():
                    yield self._histogram(metric)

    def _counter(self, metric: CounterMetric) -> Metric:
        family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in sorted(self._snapshot.counters.get(metric.name, {}).items()):
            if len(labels) == len(metric.labels):
                family.add_metric(labels, value)
        return family

    def _gauge(self, metric: GaugeMetric) -> Metric:
        names = (*metric.labels, "process") if metric.per_process else metric.labels
        family = GaugeMetricFamily(metric.name, metric.help, labels=names)
        for labels, value in sorted(self._snapshot.gauges.get(metric.name, {}).items()):
            if len(labels) == len(names):
                family.add_metric(labels, value)
        return family

    def _histogram(self, metric: HistogramMetric) -> Metric:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        series = self._snapshot.histograms.get((metric.name, metric.bounds), {})
        for labels, distribution in sorted(series.items(), key=lambda item: item[0]):
            if len(labels) == len(metric.labels):
                family.add_metric(labels, _buckets(metric, distribution), distribution.sum)
        return family


def _buckets(metric: HistogramMetric, distribution: Distribution) -> list[tuple[str, float]]:
    bounds = (*map(str, metric.bounds), "+Inf")
    return list(zip(bounds, accumulate(distribution.counts), strict=True))
