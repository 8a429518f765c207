"""Merging the metrics of several processes is order-free, and equals having counted everything in one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.telemetry.instruments import Registry
from serving.telemetry.metric import CounterMetric, GaugeMetric, HistogramMetric
from serving.telemetry.snapshot import (
    Published,
    Retired,
    Snapshot,
    decode_published,
    decode_retired,
    encode,
    merge,
    without_gauges,
)

COUNTER = CounterMetric("laws_events_total", "", ("model",))
GAUGE = GaugeMetric("laws_queue", "", ("model",))
HISTOGRAM = HistogramMetric("laws_seconds", "", ("model",), (1.0, 2.0, 4.0))
HISTOGRAM_OF_ANOTHER_RELEASE = HistogramMetric("laws_seconds", "", ("model",), (1.0, 3.0))

models = st.sampled_from(["flights", "iris"])
# Whole numbers: their floating-point sums are exact, so the laws can ask for equality.
amounts = st.integers(0, 1000)
events = st.lists(
    st.tuples(st.sampled_from([COUNTER, HISTOGRAM, HISTOGRAM_OF_ANOTHER_RELEASE, GAUGE]), models, amounts), max_size=20
)


def count(registry: Registry, happened: list[tuple[CounterMetric | GaugeMetric | HistogramMetric, str, int]]) -> None:
    for metric, model, amount in happened:
        match metric:
            case CounterMetric():
                registry.counter(metric, model=model).add(amount)
            case HistogramMetric():
                registry.histogram(metric, model=model).observe(amount)
            case GaugeMetric():
                registry.gauge(metric, model=model).set(amount)


def snapshot_of(happened: list[tuple[CounterMetric | GaugeMetric | HistogramMetric, str, int]]) -> Snapshot:
    registry = Registry("one")
    count(registry, happened)
    return registry.snapshot()


snapshots = st.builds(snapshot_of, events)


@given(snapshots, snapshots)
def test_merge_is_commutative(a: Snapshot, b: Snapshot) -> None:
    """The order in which files are read does not matter."""
    assert merge([a, b]) == merge([b, a])


@given(snapshots, snapshots, snapshots)
def test_merge_is_associative(a: Snapshot, b: Snapshot, c: Snapshot) -> None:
    """Folding some processes first, as is done with the dead, does not matter."""
    assert merge([merge([a, b]), c]) == merge([a, merge([b, c])]) == merge([a, b, c])


@given(snapshots)
def test_the_empty_snapshot_changes_nothing(a: Snapshot) -> None:
    """A process that has counted nothing leaves the sum as it is."""
    assert merge([a, Snapshot()]) == merge([Snapshot(), a]) == merge([a]) == a


@given(events, events)
def test_merged_counts_equal_the_counts_of_one_process_that_saw_everything(
    first: list[tuple[CounterMetric | GaugeMetric | HistogramMetric, str, int]],
    second: list[tuple[CounterMetric | GaugeMetric | HistogramMetric, str, int]],
) -> None:
    """Spreading events over processes loses none and invents none; gauges are of the moment and left out here."""
    apart = merge([snapshot_of(first), snapshot_of(second)])

    assert without_gauges(apart) == without_gauges(snapshot_of(first + second))


@given(snapshots, snapshots)
def test_merge_leaves_its_arguments_alone(a: Snapshot, b: Snapshot) -> None:
    """A snapshot is a value: reading it twice shows the same."""
    before = encode(Published(a))

    merge([a, b])

    assert encode(Published(a)) == before


@given(snapshots)
def test_a_file_holds_exactly_what_was_counted(a: Snapshot) -> None:
    """Decoding inverts encoding, for the living and for the dead."""
    assert decode_published(encode(Published(a))).snapshot == a
    assert decode_retired(encode(Retired(a, frozenset({"x"})))) == Retired(a, frozenset({"x"}))
