"""A scrape says exactly what was counted; prometheus_client's own parsers are the judges."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from serving.telemetry.catalog import (
    BATCH_ROWS,
    CATALOG,
    POLICY_REVISION,
    QUEUED,
    REQUESTS,
)
from serving.telemetry.exposition import render
from serving.telemetry.instruments import Registry
from serving.telemetry.metric import CounterMetric, GaugeMetric, HistogramMetric
from serving.telemetry.snapshot import Distribution, Snapshot, merge

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
OK_REQUEST = {"model": "flights", "version": "3", "variant": "stable", "protocol": "http", "outcome": "ok"}


def samples(snapshot: Snapshot, name: str, accept: str = "") -> list[Sample]:
    body, content_type = render(snapshot, accept)
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    return [sample for family in parse(body.decode()) for sample in family.samples if sample.name == name]


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain;version=1.0.0", OPENMETRICS])
def test_counters_show_their_sum_over_processes(accept: str) -> None:
    """In every format that a scraper may ask for."""
    routers = [Registry("router-0"), Registry("router-1")]
    for registry in routers:
        registry.counter(REQUESTS, **OK_REQUEST).add(21)

    (sample,) = samples(merge(registry.snapshot() for registry in routers), "shepherd_requests_total", accept)

    assert sample.value == 42
    assert sample.labels == OK_REQUEST


def test_the_format_follows_the_accept_header() -> None:
    """Prometheus asks for OpenMetrics and gets it, closed by its end mark; a browser gets plain text."""
    openmetrics, openmetrics_type = render(Snapshot(), OPENMETRICS)
    text, text_type = render(Snapshot(), "text/html,*/*")

    assert openmetrics_type.startswith("application/openmetrics-text")
    assert openmetrics.endswith(b"# EOF\n")
    assert text_type.startswith("text/plain")
    assert b"# EOF" not in text


def test_buckets_are_cumulative_and_end_in_the_count() -> None:
    """Stored per bucket, shown as Prometheus wants them: each includes the ones below."""
    registry = Registry("model.flights.3")
    histogram = registry.histogram(BATCH_ROWS, model="flights", version="3")
    for rows in (1, 2, 2, 5000):
        histogram.observe(rows)
    snapshot = registry.snapshot()

    buckets = {sample.labels["le"]: sample.value for sample in samples(snapshot, "shepherd_batch_rows_bucket")}

    assert (buckets["1.0"], buckets["2.0"], buckets["1024.0"], buckets["+Inf"]) == (1, 3, 3, 4)
    assert samples(snapshot, "shepherd_batch_rows_count")[0].value == 4
    assert samples(snapshot, "shepherd_batch_rows_sum")[0].value == 5005


def test_gauges_are_added_unless_declared_per_process() -> None:
    """Queues of two replicas add up; revisions of two routers stand side by side."""
    processes = [Registry("a"), Registry("b")]
    for registry in processes:
        registry.gauge(QUEUED, model="flights", version="3").set(2)
        registry.gauge(POLICY_REVISION, model="flights").set(7)
    snapshot = merge(registry.snapshot() for registry in processes)

    assert [sample.value for sample in samples(snapshot, "shepherd_queued_requests")] == [4]
    assert {s.labels["process"]: s.value for s in samples(snapshot, "shepherd_policy_revision")} == {"a": 7, "b": 7}


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_hostile_label_values_survive_the_trip(accept: str) -> None:
    """Quotes, backslashes and line breaks cannot forge another series."""
    name = 'x"} 1\nforged_total{a="\\'
    registry = Registry("router-0")
    registry.counter(REQUESTS, **{**OK_REQUEST, "model": name}).add()

    (sample,) = samples(registry.snapshot(), "shepherd_requests_total", accept)

    assert sample.labels["model"] == name


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_every_metric_of_the_catalog_is_announced_before_it_is_used(accept: str) -> None:
    """Dashboards find names, types and help texts on a fresh gateway."""
    body, content_type = render(Snapshot(), accept)
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    types = {CounterMetric: "counter", GaugeMetric: "gauge", HistogramMetric: "histogram"}

    announced = [
        (family.name.removesuffix("_total"), family.type, family.documentation) for family in parse(body.decode())
    ]

    assert announced == [(metric.name.removesuffix("_total"), types[type(metric)], metric.help) for metric in CATALOG]


def test_series_of_another_release_are_left_out() -> None:
    """Unknown names, other bounds and other label counts in an old file neither show nor break the scrape."""
    snapshot = Snapshot(
        counters={"shepherd_of_tomorrow_total": {(): 1}, REQUESTS.name: {("flights",): 1}},
        gauges={QUEUED.name: {("flights",): 1}},
        histograms={(BATCH_ROWS.name, (1.0,)): {("flights", "3"): Distribution((1, 0), 1.0)}},
    )

    assert render(snapshot) == render(Snapshot())
