"""Laws of the request log's bytes."""

from __future__ import annotations

import struct
from typing import Any
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from router.requestlog.record import PRIMARY, SCHEMA, SHADOW, Record, boundary, encode_record, read_records

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_COUNTS = st.integers(0, 2**63 - 1)
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("id", "model", "variant", "reason", "protocol", "key", "request_id", "outcome", "message"), _TEXT),
    **dict.fromkeys(("version", "revision", "duration_us", "queue_us", "batch_size"), _COUNTS),
    "schema": st.just(SCHEMA),
    "kind": st.sampled_from([PRIMARY, SHADOW]),
    "at": st.floats(allow_nan=False),
    "primary_id": _TEXT,
    "inputs": st.binary(max_size=200),
    "outputs": st.binary(max_size=200),
    "inputs_truncated": st.booleans(),
    "outputs_truncated": st.booleans(),
}
_RECORDS = st.lists(st.builds(Record, **_FIELDS), max_size=8)


@given(_RECORDS)
def test_what_was_written_is_read(records: list[Record]) -> None:
    """Reading undoes writing, and nothing is left over."""
    frames = b"".join(map(encode_record, records))

    reading = read_records(frames)

    assert (reading.records, reading.consumed, reading.corrupt) == (records, len(frames), ())


@given(_RECORDS, st.data())
def test_a_cut_anywhere_loses_only_what_it_cut(records: list[Record], data: st.DataObject) -> None:
    """Of a log cut at any byte, the records that end before the cut are read, and only those."""
    frames = list(map(encode_record, records))
    log = b"".join(frames)
    cut = data.draw(st.integers(0, len(log)))
    ends = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    whole = sum(end <= cut for end in ends)

    reading = read_records(log[:cut])

    assert reading.records == records[:whole]
    assert reading.consumed == boundary(log[:cut]) == (ends[whole - 1] if whole else 0)


@given(_RECORDS, st.data())
def test_reading_in_pieces_equals_reading_at_once(records: list[Record], data: st.DataObject) -> None:
    """A reader that goes on from `consumed` misses nothing and repeats nothing."""
    log = b"".join(map(encode_record, records))
    found: list[Record] = []
    kept = b""
    while log:
        size = data.draw(st.integers(1, len(log)))
        piece, log = kept + log[:size], log[size:]
        reading = read_records(piece)
        found += reading.records
        kept = piece[reading.consumed :]

    assert (found, kept) == (records, b"")


@given(_RECORDS.filter(bool), st.data())
def test_a_flipped_bit_never_yields_a_record_that_nobody_wrote(records: list[Record], data: st.DataObject) -> None:
    """Damage costs records; it does not alter them."""
    log = bytearray(b"".join(map(encode_record, records)))
    log[data.draw(st.integers(0, len(log) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    assert all(record in records for record in read_records(bytes(log)).records)


@given(st.binary(max_size=500))
def test_arbitrary_bytes_never_raise(junk: bytes) -> None:
    """And the walk and the reading agree on where the whole frames end."""
    reading = read_records(junk)

    assert reading.consumed == boundary(junk) <= len(junk)


@given(st.binary(min_size=1, max_size=200))
def test_arbitrary_bodies_under_a_true_checksum_never_raise(body: bytes) -> None:
    """A checksum does not make a record."""
    reading = read_records(struct.pack("<II", len(body), crc32(body)) + body)

    assert len(reading.records) + len(reading.corrupt) == 1
