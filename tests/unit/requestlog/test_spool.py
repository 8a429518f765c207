"""The spool on disk: bounds, reading in stretches, adoption, and the node's accounting."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from router.adapters.files.spool import Spool, SpoolFull, SpoolLimits
from router.adapters.files.spool_accounting import LocalLogAccounting, fold, is_folded
from router.adapters.files.spool_folder import SpoolFolder, adopt
from router.ports import StoreUnavailable
from router.requestlog.accounting import ModelTally, Tally
from router.requestlog.record import encode_record, read_records
from tests.answers import a_record, a_recorder, a_spool, add_answer, leave_as_killed, records_on_disk


def _fill(spool: Spool, count: int, *, per_flush: int = 3) -> None:
    recorder = a_recorder(spool, spool.folder.incarnation)
    for n in range(count):
        add_answer(recorder, n)
        if n % per_flush == per_flush - 1:
            recorder.flush()
    recorder.flush()


def _adopted(path: Path) -> SpoolFolder:
    folder = adopt(path)
    assert folder is not None
    return folder


def test_reading_on_from_the_last_place_gives_every_record_once(tmp_path: Path) -> None:
    """Stretches end at whole records, whatever the limit, across segments."""
    spool = a_spool(tmp_path)
    _fill(spool, 100)

    for limit in (1, 150, 1000, 1 << 20):
        offset, ids = spool.folder.start, []
        while stretch := spool.folder.read(offset, limit):
            reading = read_records(stretch)
            assert reading.consumed == len(stretch)
            assert len(reading.records) == 1 or len(stretch) <= limit
            ids += [record.request_id for record in reading.records]
            offset += len(stretch)

        assert ids == [f"request-{n}" for n in range(100)]


def test_segments_go_once_they_are_shipped(tmp_path: Path) -> None:
    """Only whole ones, and never the newest; offsets stay what they were."""
    spool = a_spool(tmp_path)
    _fill(spool, 100)
    starts = list(spool.folder.starts)
    assert len(starts) > 3

    spool.folder.release(starts[2] - 1)
    assert spool.folder.start == starts[1]
    spool.folder.release(spool.folder.end)

    assert spool.folder.starts == [starts[-1]]
    assert [path.name for path in spool.folder.path.glob("*.seg")] == [f"{starts[-1]:020d}.seg"]
    assert spool.folder.read(starts[-1], 1 << 20)


def test_shipping_makes_room_under_the_bound(tmp_path: Path) -> None:
    """A spool that was full takes records again, also when a segment is as large as the bound was set."""
    spool = a_spool(tmp_path, limits=SpoolLimits(max_bytes=8_000, segment_bytes=8_000))
    frame = encode_record(a_record())
    column = spool.counters.column("flights", "primary")
    for _ in range(8_000 // len(frame)):
        spool.append(frame, [column])
    with pytest.raises(SpoolFull):
        spool.append(frame, [column])

    spool.folder.release(spool.folder.end)
    spool.append(frame, [column])

    assert spool.counters.tallies()["flights"].primary.logged * len(frame) == spool.folder.end


def test_the_folder_of_a_living_router_is_not_adopted(tmp_path: Path) -> None:
    """Its lock is held."""
    spool = a_spool(tmp_path)

    assert adopt(spool.folder.path) is None


def test_an_incarnation_is_not_written_twice(tmp_path: Path) -> None:
    """Record ids are unique because incarnations are."""
    leave_as_killed(a_spool(tmp_path))

    with pytest.raises(FileExistsError, match="unique"):
        a_spool(tmp_path)


@pytest.mark.parametrize("name", ["", "../evil", "a/b", ".hidden", "with#hash"])
def test_an_incarnation_is_named_like_a_folder(tmp_path: Path, name: str) -> None:
    """And its records' ids can be taken apart."""
    with pytest.raises(ValueError, match="incarnation"):
        a_spool(tmp_path, name)


def test_adoption_cuts_off_a_torn_record_and_counts_what_the_books_missed(tmp_path: Path) -> None:
    """The dead router was killed within a write, after appending a record that it did not come to count."""
    spool = a_spool(tmp_path)
    _fill(spool, 5)
    leave_as_killed(spool)
    uncounted = encode_record(a_record(6))
    with spool.folder.segment_path(0).open("ab") as segment:
        segment.write(uncounted + uncounted[:-1])

    folder = _adopted(spool.folder.path)

    assert folder.counters.tallies() == {"flights": ModelTally(Tally(logged=6))}
    assert len(records_on_disk(folder.path)) == 6
    assert read_records(folder.read(0, 1 << 20)).consumed == folder.end
    assert folder.segment_path(0).stat().st_size == folder.end


def test_a_damaged_checkpoint_leaves_the_books_as_they_are(tmp_path: Path) -> None:
    """They are the best that is known, and the records can still be shipped."""
    spool = a_spool(tmp_path)
    _fill(spool, 100)
    leave_as_killed(spool)
    (spool.folder.path / "checkpoint").write_bytes(b"\xc1")

    assert _adopted(spool.folder.path).counters.tallies() == {"flights": ModelTally(Tally(logged=100))}


def test_a_folder_that_was_never_finished_is_removed(tmp_path: Path) -> None:
    """A router killed while it made its folder has answered nothing."""
    unborn, half_born = tmp_path / "unborn", tmp_path / "half-born"
    for path in (unborn, half_born):
        path.mkdir()
    (half_born / "counters").write_bytes(b"")

    assert adopt(unborn) is None
    assert adopt(half_born) is None
    assert list(tmp_path.iterdir()) == []


def test_a_node_adds_up_living_dead_and_folded_routers(tmp_path: Path) -> None:
    """Totals survive the folders that they came from."""
    accounting = LocalLogAccounting(tmp_path)
    alive, dead, folded = (a_spool(tmp_path, name) for name in ("alive", "dead", "folded"))
    for spool, count in ((alive, 1), (dead, 20), (folded, 300)):
        _fill(spool, count)
    leave_as_killed(dead)
    leave_as_killed(folded)
    before = accounting.read()

    folder = _adopted(folded.folder.path)
    folder.release(folder.end)
    fold(folder)
    after = accounting.read()

    assert before["requests"] == after["requests"] == after["models"]["flights"]["logged"] == 321
    assert not folded.folder.path.exists()
    assert (before["spool"]["folders"], after["spool"]["folders"]) == (3, 2)
    assert after["spool"]["shipped_bytes"] == folder.end
    assert after["spool"]["waiting_bytes"] == alive.folder.end + dead.folder.end


def test_a_folder_whose_deletion_was_interrupted_is_not_counted_twice(tmp_path: Path) -> None:
    """The totals name what they contain."""
    spool = a_spool(tmp_path)
    _fill(spool, 10)
    leave_as_killed(spool)
    copy = {path.name: path.read_bytes() for path in spool.folder.path.iterdir()}
    fold(_adopted(spool.folder.path))
    spool.folder.path.mkdir()
    for name, content in copy.items():
        (spool.folder.path / name).write_bytes(content)

    assert LocalLogAccounting(tmp_path).read()["requests"] == 10
    assert is_folded(_adopted(spool.folder.path))


def test_a_node_without_a_log_has_empty_books(tmp_path: Path) -> None:
    """Asking is allowed before the first router has started."""
    document = LocalLogAccounting(tmp_path / "none").read()

    assert (document["requests"], document["models"]) == (0, {})


def test_books_that_cannot_be_read_are_away(tmp_path: Path) -> None:
    """A damaged disk is nothing that an operator's page fails on."""
    (tmp_path / "totals").write_bytes(b"damaged")

    with pytest.raises(StoreUnavailable, match="counters"):
        asyncio.run(LocalLogAccounting(tmp_path).accounting())
