"""The recorder: what it keeps, what it leaves out, and that it never fails a request."""

from __future__ import annotations

import errno
import itertools
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.adapters.files.spool import NoSpool, Spool, SpoolLimits
from router.adapters.files.spool_folder import adopt
from router.gateway.log.recorder import is_sampled
from router.requestlog.accounting import OTHER_MODELS, ModelTally, Tally
from router.requestlog.record import SHADOW
from tests.answers import a_record, a_recorder, a_spool, add_answer, leave_as_killed, records_on_disk


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = a_spool(tmp_path)
    yield spool
    spool.close()
    spool.folder.close()


def _in_log(spool: Spool) -> list[str]:
    return [record.request_id for record in records_on_disk(spool.folder.path)]


@contextmanager
def _file_size_limit(limit: int) -> Iterator[None]:
    """Make this process's files end at a size: a write across it is cut short, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_answer_is_recorded_with_all_its_fields(spool: Spool) -> None:
    """Nothing is lost between the request path and the disk."""
    recorder = a_recorder(spool)

    add_answer(recorder, 1)
    recorder.flush()

    assert records_on_disk(spool.folder.path) == [a_record(1)]


def test_nothing_is_counted_as_logged_before_the_flush(spool: Spool) -> None:
    """Logged means: on disk."""
    recorder = a_recorder(spool)

    add_answer(recorder, 1)
    add_answer(recorder, 2)
    assert spool.counters.tallies() == {}
    recorder.flush()

    assert spool.counters.tallies() == {"flights": ModelTally(Tally(logged=2))}
    assert _in_log(spool) == ["request-1", "request-2"]


def test_pending_records_are_written_before_they_pile_up(tmp_path: Path) -> None:
    """A tick with huge payloads does not hold them all in memory."""
    spool = a_spool(tmp_path, limits=SpoolLimits())
    recorder = a_recorder(spool, payload_max_bytes=1 << 20)

    for n in range(20):
        add_answer(recorder, n, inputs=bytes(300_000))

    assert spool.folder.end > 300_000


def test_a_payload_over_the_cap_is_left_out_and_marked(spool: Spool) -> None:
    """The request stays in the log; inputs and outputs are judged apart."""
    recorder = a_recorder(spool, payload_max_bytes=10)

    add_answer(recorder, 1, inputs=b"x" * 11, outputs=b"y" * 10)
    recorder.flush()

    assert records_on_disk(spool.folder.path) == [
        a_record(1, inputs=b"", inputs_truncated=True, outputs=b"y" * 10),
    ]


def test_sampling_keeps_its_share_and_counts_the_rest(spool: Spool) -> None:
    """Every request is in the counters, recorded or not."""
    recorder = a_recorder(spool, sample_bp=2_500)

    for n in range(4000):
        add_answer(recorder, n)
    recorder.flush()

    tally = spool.counters.tallies()["flights"].primary
    assert tally.requests == 4000
    assert tally.logged == len(_in_log(spool))
    assert 850 < tally.logged < 1150  # 1000 +- 5.5 standard deviations


@pytest.mark.parametrize("pattern", ["request-{}", "{:032x}", "0000-{:08d}-abc", "{}"])
def test_sampling_is_even_over_ids_that_only_count_up(pattern: str) -> None:
    """Ids that differ in a digit are as good as random ones, in every tenth of the range."""
    ids = [pattern.format(n) for n in range(10_000)]

    below = [sum(is_sampled(id_, share) for id_ in ids) for share in range(0, 10_001, 1000)]

    tenths = [after - before for before, after in itertools.pairwise(below)]
    assert sum(tenths) == 10_000
    assert all(800 < tenth < 1200 for tenth in tenths)


def test_a_model_may_have_its_own_share(spool: Spool) -> None:
    """And a share of nothing turns its log off without losing its count."""
    recorder = a_recorder(spool, model_sample_bp={"noisy": 0})

    add_answer(recorder, 1, model="noisy")
    add_answer(recorder, 2)
    recorder.flush()

    assert spool.counters.tallies() == {
        "noisy": ModelTally(Tally(sampled_out=1)),
        "flights": ModelTally(Tally(logged=1)),
    }


def test_a_shadow_is_kept_exactly_when_its_primary_is(spool: Spool) -> None:
    """Half a pair is worth nothing for a comparison."""
    recorder = a_recorder(spool, sample_bp=5_000)

    for n in range(200):
        add_answer(recorder, n)
        add_answer(recorder, n, kind=SHADOW, request_id=f"shadow-{n}", primary_id=f"request-{n}")
    recorder.flush()

    kept = records_on_disk(spool.folder.path)
    primaries = {record.request_id for record in kept if record.kind != SHADOW}
    assert primaries == {record.primary_id for record in kept if record.kind == SHADOW}
    assert 0 < len(primaries) < 200


def test_a_request_for_no_known_model_is_recorded_under_the_others(spool: Spool) -> None:
    """Errors are logged too."""
    recorder = a_recorder(spool)

    add_answer(recorder, 1, model="", outcome="not_found", message='unknown model "x"')
    recorder.flush()

    assert spool.counters.tallies() == {OTHER_MODELS: ModelTally(Tally(logged=1))}


def test_a_value_that_the_format_cannot_hold_drops_one_record(spool: Spool) -> None:
    """It is counted, and its batch-mates are kept."""
    recorder = a_recorder(spool)

    add_answer(recorder, 1)
    add_answer(recorder, 2, key="\ud800")
    add_answer(recorder, 3)
    recorder.flush()

    assert spool.counters.tallies() == {"flights": ModelTally(Tally(logged=2, dropped={"unencodable": 1}))}


def test_at_the_bound_every_dropped_record_is_counted(tmp_path: Path) -> None:
    """The bound holds on disk, and the counters say exactly what is missing."""
    spool = a_spool(tmp_path, limits=SpoolLimits(max_bytes=20_000, segment_bytes=4_000))
    recorder = a_recorder(spool)

    for n in range(300):
        add_answer(recorder, n)
        if n % 7 == 0:
            recorder.flush()
    recorder.flush()

    tally = spool.counters.tallies()["flights"].primary
    assert tally.requests == 300
    assert tally.logged == len(_in_log(spool)) > 50
    assert tally.dropped == {"spool_full": 300 - tally.logged}
    assert sum(path.stat().st_size for path in spool.folder.path.glob("*.seg")) <= 20_000


def test_a_disk_that_fills_up_within_a_write_leaves_whole_records(spool: Spool) -> None:
    """The batch that did not fit is cut off again and counted; when there is room, recording goes on."""
    recorder = a_recorder(spool)
    add_answer(recorder, 1)
    recorder.flush()

    with _file_size_limit(spool.folder.end + 100):
        add_answer(recorder, 2)
        add_answer(recorder, 3)
        recorder.flush()
    add_answer(recorder, 4)
    recorder.flush()

    assert _in_log(spool) == ["request-1", "request-4"]
    assert spool.counters.tallies() == {"flights": ModelTally(Tally(logged=2, dropped={"spool_full": 2}))}


def test_a_failing_disk_is_counted_apart_from_a_full_one(spool: Spool) -> None:
    """The operator's answer differs."""
    recorder = a_recorder(spool)
    spool.close()

    add_answer(recorder, 1)
    recorder.flush()

    assert spool.counters.tallies() == {"flights": ModelTally(Tally(dropped={"disk_error": 1}))}


def test_a_router_without_a_spool_serves_and_counts() -> None:
    """A full disk at the start must not keep a gateway from starting."""
    log = NoSpool(OSError(errno.ENOSPC, "No space left on device"))
    recorder = a_recorder(log)

    add_answer(recorder, 1)
    recorder.flush()

    assert log.counters.tallies() == {"flights": ModelTally(Tally(dropped={"disk_error": 1}))}


def test_a_segment_that_cannot_be_begun_leaves_the_books_exact(tmp_path: Path) -> None:
    """Once a checkpoint calls the old segment complete, nothing more goes into it, however small."""
    spool = a_spool(tmp_path, limits=SpoolLimits(max_bytes=1 << 20, segment_bytes=1_000))
    recorder = a_recorder(spool)
    add_answer(recorder, 1, inputs=bytes(600))
    recorder.flush()
    obstacle = spool.folder.segment_path(spool.folder.end)
    obstacle.mkdir()

    for n, size in ((2, 600), (3, 0)):
        add_answer(recorder, n, inputs=bytes(size))
        recorder.flush()
    obstacle.rmdir()
    add_answer(recorder, 4)
    recorder.flush()
    leave_as_killed(spool)

    folder = adopt(spool.folder.path)
    assert folder is not None
    assert folder.counters.tallies() == {"flights": ModelTally(Tally(logged=2, dropped={"disk_error": 2}))}
    assert _in_log(spool) == ["request-1", "request-4"]
