"""A process publishes its metrics while it lives, once more at its end, and outlives a bad disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.telemetry.catalog import PUBLISH_FAILURES
from serving.telemetry.folder import read_folder
from serving.telemetry.instruments import Registry
from serving.telemetry.metric import CounterMetric
from serving.telemetry.publisher import Publisher
from tests.waiting import until

EVENTS = CounterMetric("events_total", "", ())

pytestmark = pytest.mark.asyncio


def published(folder: Path) -> float:
    return read_folder(folder).snapshot.counters.get("events_total", {}).get((), 0)


async def test_counts_appear_without_being_asked_for(tmp_path: Path) -> None:
    """The folder is made, and each tick writes the totals of its moment."""
    registry = Registry("router-0")
    publisher = Publisher(registry, tmp_path / "metrics", interval_s=0.001)
    await publisher.start()

    registry.counter(EVENTS).add(3)

    await until(lambda: published(tmp_path / "metrics") == 3)
    await publisher.close()


async def test_closing_publishes_the_last_counts(tmp_path: Path) -> None:
    """A process that ends in order loses nothing, however long its interval."""
    registry = Registry("router-0")
    publisher = Publisher(registry, tmp_path, interval_s=3600)
    await publisher.start()
    registry.counter(EVENTS).add(5)

    await publisher.close()

    assert published(tmp_path) == 5


async def test_a_failed_write_is_counted_and_publishing_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full or missing disk must not end a router; the counts come with the next file, and the log says it once."""
    registry = Registry("router-0")
    folder = tmp_path / "metrics"
    publisher = Publisher(registry, folder, interval_s=3600)
    await publisher.start()
    folder.rename(tmp_path / "away")
    registry.counter(EVENTS).add(2)

    await publisher.flush()
    await publisher.flush()
    (tmp_path / "away").rename(folder)
    await publisher.close()

    assert published(folder) == 2
    assert registry.counter(PUBLISH_FAILURES).value == 2
    assert len(caplog.records) == 1


async def test_a_faulty_refresher_does_not_end_the_publishing(tmp_path: Path) -> None:
    """A defect in one gauge must not make a whole process invisible for ever."""
    registry = Registry("router-0")
    faults = iter([ZeroDivisionError()])

    def refresh() -> None:
        for fault in faults:
            raise fault

    registry.before_snapshot(refresh)
    registry.counter(EVENTS).add()
    publisher = Publisher(registry, tmp_path, interval_s=0.001)
    await publisher.start()

    await until(lambda: published(tmp_path) == 1)
    await publisher.close()
    assert registry.counter(PUBLISH_FAILURES).value == 1
