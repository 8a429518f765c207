"""Handles count by plain arithmetic; the registry names, bounds and collects them."""

from __future__ import annotations

import pytest

from serving.telemetry.catalog import LABEL_OVERFLOWS
from serving.telemetry.instruments import OTHER, Registry
from serving.telemetry.metric import CounterMetric, GaugeMetric, HistogramMetric

REQUESTS = CounterMetric("requests_total", "", ("model", "outcome"))
QUEUED = GaugeMetric("queued", "", ("model",))
REVISION = GaugeMetric("revision", "", ("model",), per_process=True)
SECONDS = HistogramMetric("seconds", "", (), (0.1, 1.0))


def test_the_same_labels_give_the_same_handle() -> None:
    """A handle stands for its series, in whatever order the labels are written."""
    registry = Registry("router-0")

    handle = registry.counter(REQUESTS, model="flights", outcome="ok")
    handle.add()
    registry.counter(REQUESTS, outcome="ok", model="flights").add(2)

    assert handle.value == 3


@pytest.mark.parametrize("labels", [{}, {"model": "flights"}, {"model": "flights", "result": "ok"}])
def test_labels_other_than_the_declared_ones_are_refused(labels: dict[str, str]) -> None:
    """A misspelt label is a defect of the caller, found at once."""
    with pytest.raises(ValueError, match="requests_total has the labels"):
        Registry("router-0").counter(REQUESTS, **labels)


def test_a_value_on_a_bound_belongs_to_the_bucket_below() -> None:
    """Bounds are inclusive, as Prometheus' `le` says; above the last there is one more bucket."""
    registry = Registry("router-0")
    histogram = registry.histogram(SECONDS)

    for value in (0.05, 0.1, 0.5, 1.0, 7.0):
        histogram.observe(value)

    series = registry.snapshot().histograms["seconds", (0.1, 1.0)]
    assert series[()].counts == (2, 2, 1)
    assert series[()].sum == pytest.approx(8.65)


def test_a_gauge_is_absent_until_set_and_after_clear() -> None:
    """A gauge with nothing to say shows nothing, rather than a zero that would be a claim."""
    registry = Registry("router-0")
    gauge = registry.gauge(QUEUED, model="flights")
    unset = registry.snapshot().gauges["queued"]

    gauge.set(0)
    zero = registry.snapshot().gauges["queued"]
    gauge.clear()

    assert unset == {}
    assert zero == {("flights",): 0}
    assert registry.snapshot().gauges["queued"] == {}


def test_a_per_process_gauge_carries_its_process() -> None:
    """Revisions of two routers must not be added, so each keeps its own series."""
    registry = Registry("router-1")

    registry.gauge(REVISION, model="flights").set(7)

    assert registry.snapshot().gauges["revision"] == {("flights", "router-1"): 7}


def test_a_replaced_gauge_shows_exactly_what_it_was_given() -> None:
    """A variant that left the policy leaves the scrape with it, and makes room for others."""
    registry = Registry("router-0", max_label_sets=2)
    registry.replace(QUEUED, {("a",): 1, ("b",): 2})

    registry.replace(QUEUED, {("b",): 3, ("c",): 4})

    assert registry.snapshot().gauges["queued"] == {("b",): 3, ("c",): 4}
    assert registry.snapshot().counters[LABEL_OVERFLOWS.name] == {(): 0}


def test_a_replaced_gauge_keeps_within_the_bound() -> None:
    """Policies come from outside too; what does not fit is left out and counted."""
    registry = Registry("router-0", max_label_sets=2)

    registry.replace(QUEUED, {("a",): 1, ("b",): 2, ("c",): 3})

    assert registry.snapshot().gauges["queued"] == {("a",): 1, ("b",): 2}
    assert registry.snapshot().counters[LABEL_OVERFLOWS.name] == {(): 1}


def test_a_replaced_gauge_has_the_declared_labels() -> None:
    """Values without their labels would land in the wrong series."""
    with pytest.raises(ValueError, match="queued has the labels"):
        Registry("router-0").replace(QUEUED, {("flights", "3"): 1})


def test_a_counter_follows_a_total_kept_elsewhere_but_never_down() -> None:
    """Totals read from the log's accounting become a monotone counter."""
    counter = Registry("router-0").counter(REQUESTS, model="flights", outcome="ok")

    counter.raise_to(5)
    counter.raise_to(3)

    assert counter.value == 5


def test_label_sets_beyond_the_bound_share_one_series_and_are_counted() -> None:
    """A client that invents names cannot grow the memory of a router; known series go on as before."""
    registry = Registry("router-0", max_label_sets=2)
    for model in ("a", "b", "c", "d"):
        registry.counter(REQUESTS, model=model, outcome="ok").add()

    registry.counter(REQUESTS, model="a", outcome="ok").add()

    assert registry.snapshot().counters["requests_total"] == {("a", "ok"): 2, ("b", "ok"): 1, (OTHER, OTHER): 2}
    assert registry.snapshot().counters[LABEL_OVERFLOWS.name] == {(): 2}


def test_refreshers_run_before_each_snapshot() -> None:
    """What is known anyway, such as a queue's length, is read at the tick and costs requests nothing."""
    registry = Registry("router-0")
    queue: list[int] = []
    gauge = registry.gauge(QUEUED, model="flights")
    registry.before_snapshot(lambda: gauge.set(len(queue)))
    registry.snapshot()

    queue.extend((1, 2))

    assert registry.snapshot().gauges["queued"] == {("flights",): 2}


def test_a_snapshot_does_not_move_with_later_counts() -> None:
    """A snapshot is a value of its moment."""
    registry = Registry("router-0")
    registry.histogram(SECONDS).observe(0.5)
    snapshot = registry.snapshot()

    registry.histogram(SECONDS).observe(0.5)

    assert snapshot.histograms["seconds", (0.1, 1.0)][()].counts == (0, 1, 0)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "-x", "x" * 201])
def test_a_process_name_must_be_fit_for_a_file_name(name: str) -> None:
    """The name becomes part of a path, so it may not leave its folder."""
    with pytest.raises(ValueError, match="cannot name a process"):
        Registry(name)


@pytest.mark.parametrize("bounds", [(), (1.0, 1.0), (2.0, 1.0), (1.0, float("inf")), (float("nan"),)])
def test_bounds_that_are_not_finite_and_increasing_are_refused(bounds: tuple[float, ...]) -> None:
    """Bisection needs order, and the bucket up to infinity is always there by itself."""
    with pytest.raises(ValueError, match="bounds must"):
        HistogramMetric("seconds", "", (), bounds)
