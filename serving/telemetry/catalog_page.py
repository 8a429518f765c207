"""The catalog as a Markdown page: `python -m serving.telemetry.catalog_page > docs/metrics.md`. Pure."""

from __future__ import annotations

import sys

from serving.protocol.errors import ErrorKind
from serving.telemetry.catalog import CATALOG, OK, UNKNOWN
from serving.telemetry.metric import CounterMetric, GaugeMetric, HistogramMetric, Metric

_HEAD = """\
<!-- Generated: python -m serving.telemetry.catalog_page > docs/metrics.md -->
# Metrics

`GET /metrics` on the metrics port (8002) covers all processes of a node, as Prometheus text or OpenMetrics. Each
process publishes its own counts twice a second; a scrape adds them up. Counters and histograms include
the counts of processes that have ended, so they never decrease; gauges disappear with the process that set them. A
process that is killed loses at most its last half second of counts (the request log's own accounting loses none).

Requests for a model or version that does not exist are counted under `{unknown}`. An `outcome` other than `{ok}` is the
kind of error, the same over HTTP and gRPC: {kinds}.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def render_page() -> str:
    """Return the page."""
    rows = [f"| `{metric.name}` | {_type(metric)} | {_labels(metric)} | {metric.help} |" for metric in CATALOG]
    histograms = [metric for metric in CATALOG if isinstance(metric, HistogramMetric)]
    bounds = [f"- `{metric.name}`: {', '.join(f'{bound:g}' for bound in metric.bounds)}" for metric in histograms]
    kinds = ", ".join(f"`{kind.name.lower()}`" for kind in ErrorKind)
    return (
        _HEAD.format(unknown=UNKNOWN, ok=OK, kinds=kinds)
        + "\n".join(rows)
        + "\n\n## Bucket bounds\n\n"
        + "\n".join(bounds)
        + "\n"
    )


def _type(metric: Metric) -> str:
    match metric:
        case CounterMetric():
            return "counter"
        case HistogramMetric():
            return "histogram"
        case GaugeMetric(per_process=True):
            return "gauge, per process"
        case GaugeMetric():
            return "gauge"


def _labels(metric: Metric) -> str:
    names = (*metric.labels, "process") if isinstance(metric, GaugeMetric) and metric.per_process else metric.labels
    return ", ".join(f"`{name}`" for name in names) or "none"


if __name__ == "__main__":
    sys.stdout.write(render_page())
