"""Records and their frames."""

from __future__ import annotations

import struct
from zlib import crc32

import msgspec
import pytest

from router.requestlog.record import (
    HEADER_BYTES,
    MAX_RECORD_BYTES,
    FirstSeen,
    Record,
    boundary,
    encode_record,
    frame_length,
    read_records,
)
from tests.answers import a_record


def _frame(body: bytes) -> bytes:
    return struct.pack("<II", len(body), crc32(body)) + body


def test_a_frame_is_length_checksum_and_a_msgpack_array() -> None:
    """The format is stated in bytes, so that other programs can read the log."""
    record = a_record()

    frame = encode_record(record)

    body = frame[HEADER_BYTES:]
    assert struct.unpack("<II", frame[:HEADER_BYTES]) == (len(body), crc32(body))
    assert msgspec.msgpack.decode(body)[:5] == [1, "r1#1", "primary", 1_700_000_000.25, "flights"]


def test_a_torn_tail_is_left_unconsumed() -> None:
    """What a kill cut off is not an error: it may be the beginning of what comes next."""
    first, second = encode_record(a_record(1)), encode_record(a_record(2))

    for cut in range(len(second)):
        reading = read_records(first + second[:cut])

        assert (reading.records, reading.consumed, reading.corrupt) == ([a_record(1)], len(first), ())


def test_a_damaged_body_costs_only_its_own_record() -> None:
    """The record is skipped by its length, and its place is told."""
    frames = [encode_record(a_record(n)) for n in (1, 2, 3)]
    damaged = bytearray(b"".join(frames))
    damaged[len(frames[0]) + HEADER_BYTES + 5] ^= 0xFF

    reading = read_records(bytes(damaged))

    assert reading.records == [a_record(1), a_record(3)]
    assert reading.corrupt == ((len(frames[0]), len(frames[0]) + len(frames[1])),)
    assert reading.consumed == len(damaged)


@pytest.mark.parametrize(
    "body",
    [b"\xc1", b"\x93\x01\x02", msgspec.msgpack.encode(["not", "a", "record"]), b"\x91" * 5000 + b"\x01"],
    ids=["invalid msgpack", "short array", "wrong types", "deeply nested"],
)
def test_a_body_that_is_no_record_is_skipped_and_reported(body: bytes) -> None:
    """A checksum proves that the bytes are as written, not that a record was written."""
    reading = read_records(_frame(body) + encode_record(a_record()))

    assert reading.records == [a_record()]
    assert reading.corrupt == ((0, HEADER_BYTES + len(body)),)


@pytest.mark.parametrize("length", [0, MAX_RECORD_BYTES + 1, 0xFFFFFFFF])
def test_a_length_that_no_writer_wrote_ends_the_reading(length: int) -> None:
    """Also a run of zeros, which a file system may leave after loss of power: an empty body has checksum 0."""
    good = encode_record(a_record())
    impossible = struct.pack("<II", length, 0)

    assert read_records(good + impossible + good).consumed == len(good)
    assert boundary(good + impossible + good) == len(good)
    assert frame_length(impossible) == 0


def test_a_payload_that_looks_like_a_record_forges_none() -> None:
    """A client chooses its payload; a reader that searched for frames would find what the client hid there."""
    forged = encode_record(a_record(99, outcome="ok"))
    carrier = encode_record(a_record(1, inputs=forged))

    assert read_records(carrier[:-1]).records == []
    assert read_records(carrier).records == [a_record(1, inputs=forged)]


def test_a_reader_fills_in_fields_that_an_older_writer_did_not_know() -> None:
    """Fields are appended with defaults."""
    fields = list(msgspec.structs.astuple(a_record(inputs=b"", outputs=b"")))
    short = _frame(msgspec.msgpack.encode(fields[:17]))

    assert read_records(short).records == [a_record(inputs=b"", outputs=b"")]


def test_a_reader_ignores_fields_that_a_newer_writer_added() -> None:
    """Logs of different releases can lie in one stream."""
    fields = [*msgspec.structs.astuple(a_record()), "from the future"]

    assert read_records(_frame(msgspec.msgpack.encode(fields))).records == [a_record()]


def test_a_value_that_cannot_be_encoded_is_a_value_error() -> None:
    """The recorder counts it instead of failing the answer."""
    with pytest.raises(ValueError):
        encode_record(a_record(key="lone surrogate \ud800"))
    with pytest.raises(OverflowError):
        encode_record(a_record(revision=1 << 70))


def test_a_record_that_was_read_before_is_not_new() -> None:
    """Duplicates are told by incarnation and sequence, however many routers interleave."""
    seen = FirstSeen()
    one, two = a_record(1, "router-1"), a_record(1, "router-2")

    first = [seen.is_new(record) for record in (one, two, a_record(2, "router-1"))]
    again = [seen.is_new(record) for record in (one, a_record(2, "router-1"), a_record(3, "router-1"), two)]

    assert first == [True, True, True]
    assert again == [False, False, True, False]


@pytest.mark.parametrize("id_", ["", "#1", "r1#", "r1#x", "r1", "r1#" + "9" * 5000])
def test_an_id_of_another_form_is_taken_for_new(id_: str) -> None:
    """A stream may hold what no router wrote; reading on is better than guessing."""
    record: Record = a_record(id=id_)
    seen = FirstSeen()

    assert seen.is_new(record)
    assert seen.is_new(record)
