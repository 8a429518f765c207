"""Processes leave one file each; readers merge them and fold away the dead, whatever else lies in the folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from serving.telemetry.folder import read_folder, write_snapshot
from serving.telemetry.instruments import Registry
from serving.telemetry.metric import CounterMetric, GaugeMetric, HistogramMetric
from serving.telemetry.process import current_process, is_alive
from serving.telemetry.snapshot import Distribution, Published, Snapshot, encode
from tests.full_disk import full_disk

EVENTS = CounterMetric("events_total", "", ())
QUEUED = GaugeMetric("queued", "", ())
SECONDS = HistogramMetric("seconds", "", (), (1.0,))

WRITE_AND_END = """
import sys
from pathlib import Path
from serving.telemetry.folder import write_snapshot
from serving.telemetry.snapshot import Distribution, Snapshot

events = int(sys.argv[2])
counted = Snapshot(
    counters={"events_total": {(): events}},
    gauges={"queued": {(): 1}},
    histograms={("seconds", (1.0,)): {(): Distribution((events, 0), 0.5)}},
)
write_snapshot(Path(sys.argv[1]), "router-0", counted)
"""


def start_a_process_that_writes_and_ends(folder: Path, events: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITE_AND_END, str(folder), str(events)])


def counted_by_a_process_that_has_ended(folder: Path, events: int) -> Path:
    before = set(folder.iterdir())
    assert start_a_process_that_writes_and_ends(folder, events).wait() == 0
    (path,) = set(folder.iterdir()) - before
    return path


def count_here(folder: Path, process: str, events: int) -> None:
    registry = Registry(process)
    registry.counter(EVENTS).add(events)
    registry.gauge(QUEUED).set(2)
    registry.histogram(SECONDS).observe(0.25)
    write_snapshot(folder, process, registry.snapshot())


def events_in(folder: Path) -> float:
    return read_folder(folder).snapshot.counters["events_total"][()]


def test_living_processes_are_added(tmp_path: Path) -> None:
    """Two processes' counters, gauges and histograms show as one sum."""
    count_here(tmp_path, "router-0", 3)
    count_here(tmp_path, "router-1", 4)

    snapshot = read_folder(tmp_path).snapshot

    assert snapshot.counters["events_total"] == {(): 7}
    assert snapshot.gauges["queued"] == {(): 4}
    assert snapshot.histograms["seconds", (1.0,)] == {(): Distribution((2, 0), 0.5)}


def test_a_disk_that_refuses_stops_no_reading(tmp_path: Path) -> None:
    """What has ended is counted from its files, once, until it can be folded away: rollouts are judged by it."""
    count_here(tmp_path, "router-0", 3)
    counted_by_a_process_that_has_ended(tmp_path, 4)

    with full_disk():
        assert [events_in(tmp_path) for _ in range(2)] == [7, 7]
        assert read_folder(tmp_path).snapshot.gauges["queued"] == {(): 2}
    assert not (tmp_path / "retired.metrics").exists()
    assert [events_in(tmp_path) for _ in range(2)] == [7, 7]
    assert (tmp_path / "retired.metrics").exists()


def test_a_process_replaces_its_own_file(tmp_path: Path) -> None:
    """Each file holds totals, so a newer one takes the place of the older."""
    count_here(tmp_path, "router-0", 3)
    count_here(tmp_path, "router-0", 5)

    assert events_in(tmp_path) == 5
    assert len(list(tmp_path.iterdir())) == 1


def test_counts_of_the_dead_stay_and_their_gauges_go(tmp_path: Path) -> None:
    """A restart must not make a counter step back, nor show a queue that nobody has."""
    counted_by_a_process_that_has_ended(tmp_path, 10)
    count_here(tmp_path, "router-0", 1)

    snapshot = read_folder(tmp_path).snapshot

    assert snapshot.counters["events_total"] == {(): 11}
    assert snapshot.gauges["queued"] == {(): 2}
    assert snapshot.histograms["seconds", (1.0,)] == {(): Distribution((11, 0), 0.75)}


def test_dead_processes_leave_one_file_however_many_they_were(tmp_path: Path) -> None:
    """The folder stays as small as the set of the living, and each dead process counts once over many readings."""
    for _ in range(3):
        counted_by_a_process_that_has_ended(tmp_path, 2)
        read_folder(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["retired.metrics"]
    assert events_in(tmp_path) == events_in(tmp_path) == 6


def test_a_crash_between_folding_and_removing_counts_nothing_twice(tmp_path: Path) -> None:
    """A file that was folded but is still there is removed, not read."""
    path = counted_by_a_process_that_has_ended(tmp_path, 10)
    content = path.read_bytes()
    read_folder(tmp_path)

    path.write_bytes(content)

    assert events_in(tmp_path) == 10
    assert not path.exists()
    assert events_in(tmp_path) == 10


def test_a_zombie_counts_as_dead(tmp_path: Path) -> None:
    """A killed process that its parent has not waited for yet will never write again."""
    process = start_a_process_that_writes_and_ends(tmp_path, 1)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert read_folder(tmp_path).snapshot.gauges == {}
    finally:
        process.wait()


def test_a_reused_pid_is_another_process() -> None:
    """The start time tells a process from a later one of the same number."""
    here = current_process()

    assert is_alive(here)
    assert not is_alive(here._replace(started=here.started - 1))


@pytest.mark.parametrize("content", [b"", b"\x00\xff not ours", encode(Published(Snapshot()))[:-3], b"\x80"])
def test_a_file_that_cannot_be_read_is_passed_over_and_counted(tmp_path: Path, content: bytes) -> None:
    """One torn or alien file does not take the node's metrics away."""
    pid, started = current_process()
    (tmp_path / f"torn.{pid}.{started}.metrics").write_bytes(content)
    (tmp_path / "alien.metrics").write_bytes(content)
    (tmp_path / "notes.txt").write_bytes(content)
    count_here(tmp_path, "router-0", 3)

    reading = read_folder(tmp_path)

    assert reading.snapshot.counters["events_total"] == {(): 3}
    assert reading.unreadable == 2


def test_a_histogram_whose_counts_do_not_fit_its_bounds_is_unreadable(tmp_path: Path) -> None:
    """Content is checked as far as merging relies on it."""
    pid, started = current_process()
    histograms = {("seconds", (1.0,)): {(): [[1, 2, 3], 0.5]}}
    content = msgspec.msgpack.encode({"type": "shepherd.metrics.1", "snapshot": {"histograms": histograms}})
    (tmp_path / f"forged.{pid}.{started}.metrics").write_bytes(content)

    assert read_folder(tmp_path).unreadable == 1


def test_an_unreadable_file_of_the_dead_is_removed(tmp_path: Path) -> None:
    """Nobody will ever complete it."""
    path = counted_by_a_process_that_has_ended(tmp_path, 1)
    path.write_bytes(b"torn")
    path.with_name(f".{path.name}.0123abcd.tmp").write_bytes(b"unfinished")
    (tmp_path / ".retired.metrics.0123abcd.tmp").write_bytes(b"unfinished")

    assert read_folder(tmp_path).unreadable == 1

    assert read_folder(tmp_path).unreadable == 0
    assert [path.name for path in tmp_path.iterdir()] == ["retired.metrics"]


def test_an_unfinished_file_of_the_living_is_left_alone(tmp_path: Path) -> None:
    """Its writer is about to rename it."""
    pid, started = current_process()
    unfinished = tmp_path / f".router-0.{pid}.{started}.metrics.0123abcd.tmp"
    unfinished.write_bytes(b"half")

    assert read_folder(tmp_path).unreadable == 0
    assert unfinished.exists()


def test_a_folder_that_is_not_there_is_the_callers_error(tmp_path: Path) -> None:
    """Showing no metrics at all would look like an idle gateway."""
    with pytest.raises(FileNotFoundError):
        read_folder(tmp_path / "absent")
