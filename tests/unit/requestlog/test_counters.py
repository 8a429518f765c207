"""Counters that outlive their process, and the identity that they keep."""

from __future__ import annotations

import pytest

from router.requestlog.accounting import DROP_REASONS, OTHER_MODELS, ModelTally, Tally, merge, to_document
from router.requestlog.counters import COUNTERS_BYTES, DROPPED, LOGGED, SAMPLED_OUT, LogCounters
from router.requestlog.record import PRIMARY, SHADOW, encode_record, iter_frames
from tests.answers import a_record


@pytest.fixture
def buffer() -> bytearray:
    return bytearray(COUNTERS_BYTES)


def test_counts_are_kept_per_model_kind_and_reason(buffer: bytearray) -> None:
    """Shadows never mix with the answers that clients got."""
    counters = LogCounters(memoryview(buffer))
    primary, shadow = counters.column("flights", PRIMARY), counters.column("flights", SHADOW)

    counters.add([primary, primary, shadow], LOGGED)
    counters.cells[primary + SAMPLED_OUT] += 5
    counters.add([shadow], DROPPED["spool_full"])

    assert counters.tallies() == {
        "flights": ModelTally(Tally(logged=2, sampled_out=5), Tally(logged=1, dropped={"spool_full": 1}))
    }


def test_requests_are_the_sum_of_their_ends() -> None:
    """The identity cannot break: nothing else is stored."""
    assert Tally(logged=3, sampled_out=4, dropped={"spool_full": 5, "disk_error": 6}).requests == 18


def test_another_reader_of_the_same_bytes_sees_models_added_later(buffer: bytearray) -> None:
    """The accounting reads the file of a living router."""
    writer, reader = LogCounters(memoryview(buffer)), LogCounters(memoryview(buffer).toreadonly())
    assert reader.tallies() == {}

    writer.add([writer.column("später", PRIMARY)], LOGGED)

    assert reader.tallies() == {"später": ModelTally(Tally(logged=1))}


def test_models_beyond_the_last_slot_are_counted_together(buffer: bytearray) -> None:
    """However many names arrive, the file stays as it is and no request is lost from the sum."""
    counters = LogCounters(memoryview(buffer))

    for n in range(3000):
        counters.add([counters.column(f"model-{n}", PRIMARY)], LOGGED)

    tallies = counters.tallies()
    assert sum(tally.primary.logged for tally in tallies.values()) == 3000
    assert tallies[OTHER_MODELS].primary.logged == 3000 - len(tallies) + 1


@pytest.mark.parametrize("name", ["", "x" * 249, OTHER_MODELS])
def test_a_name_that_no_model_has_is_counted_with_the_others(buffer: bytearray, name: str) -> None:
    """A request that names no known model has the empty name."""
    counters = LogCounters(memoryview(buffer))

    counters.add([counters.column(name, PRIMARY)], LOGGED)

    assert counters.tallies() == {OTHER_MODELS: ModelTally(Tally(logged=1))}


def test_a_recount_is_checkpoint_plus_records(buffer: bytearray) -> None:
    """The copy that the dead process left is not believed; doing it twice changes nothing."""
    counters = LogCounters(memoryview(buffer))
    column = counters.column("flights", PRIMARY)
    counters.add([column] * 11, LOGGED)
    frames = b"".join(encode_record(a_record(n)) for n in range(3)) + encode_record(a_record(4, kind=SHADOW))

    for _ in range(2):
        counters.restore({column: 10}, iter_frames(frames))

        assert counters.tallies() == {"flights": ModelTally(Tally(logged=13), Tally(logged=1))}


def test_records_that_the_disk_lost_are_counted_as_corrupt(buffer: bytearray) -> None:
    """No request vanishes from the accounting: what was logged and is not there any more was dropped by the disk."""
    counters = LogCounters(memoryview(buffer))
    column = counters.column("flights", PRIMARY)
    counters.add([column] * 5, LOGGED)

    for _ in range(2):
        counters.restore({column: 2}, iter_frames(encode_record(a_record())))

        assert counters.tallies() == {"flights": ModelTally(Tally(logged=3, dropped={"corrupt": 2}))}


def test_closed_books_can_be_read_and_not_be_changed(buffer: bytearray) -> None:
    """The last metrics of a process are read after its spool is gone."""
    counters = LogCounters(memoryview(buffer))
    counters.add([counters.column("flights", PRIMARY)], LOGGED)

    counters.close()
    buffer.clear()

    assert counters.tallies() == {"flights": ModelTally(Tally(logged=1))}
    with pytest.raises(TypeError):
        counters.add([counters.column("flights", PRIMARY)], LOGGED)


def test_foreign_bytes_are_refused() -> None:
    """Counting into a file of another kind would destroy it."""
    with pytest.raises(ValueError, match="counters"):
        LogCounters(memoryview(bytearray(b"x" * COUNTERS_BYTES)))
    with pytest.raises(ValueError, match="counters"):
        LogCounters(memoryview(bytearray(COUNTERS_BYTES - 8)))


def test_books_of_several_incarnations_add_up() -> None:
    """A node's log is the sum over its routers, living and dead."""
    one = {"a": ModelTally(Tally(logged=1, dropped={"disk_error": 2})), "b": ModelTally(shadow=Tally(sampled_out=3))}
    two = {"a": ModelTally(Tally(logged=4, dropped={"spool_full": 5}))}

    assert merge([one, two]) == {
        "a": ModelTally(Tally(logged=5, dropped={"spool_full": 5, "disk_error": 2})),
        "b": ModelTally(shadow=Tally(sampled_out=3)),
    }


def test_the_document_has_totals_and_models_and_keeps_shadows_apart() -> None:
    """The form of `/admin/v1/log`."""
    tallies = {"a": ModelTally(Tally(logged=2, dropped={"spool_full": 1}), Tally(logged=7)), "b": ModelTally()}

    document = to_document(tallies)

    nothing = {"requests": 0, "logged": 0, "sampled_out": 0, "dropped": {}}
    shadows = {"requests": 7, "logged": 7, "sampled_out": 0, "dropped": {}}
    flights = {"requests": 3, "logged": 2, "sampled_out": 0, "dropped": {"spool_full": 1}, "shadows": shadows}
    assert document == {**flights, "models": {"a": flights, "b": {**nothing, "shadows": nothing}}}


def test_every_reason_has_its_own_counter() -> None:
    """And they fit the slot."""
    assert sorted({LOGGED, SAMPLED_OUT, *DROPPED.values()}) == list(range(2 + len(DROP_REASONS)))
    assert 2 + len(DROP_REASONS) <= 16
