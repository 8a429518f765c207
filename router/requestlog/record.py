"""One answered request as the log keeps it, and its bytes. Pure.

Frame: u32 length | u32 CRC-32 of the body | body, all little-endian; the body is a `Record` in msgpack, as an array
whose first element is the schema number. Fields are only ever appended, with defaults: old readers ignore what is new,
new readers fill in what is missing, so logs written by different releases can lie in one stream.

A reader never raises, whatever the bytes. A frame that ends past the buffer is a torn tail: it is left unconsumed. A
frame whose checksum or body is wrong is skipped by its length and reported. A length that no writer can have written
ends the reading: there is deliberately no search for the next frame, because a payload chosen by a client may contain
bytes that look like a frame, and a search would let that client forge records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final
from zlib import crc32

import msgspec

SCHEMA: Final = 1
PRIMARY: Final = "primary"
SHADOW: Final = "shadow"
#: Reason of a shadow that asked the primary's own version again: what differs then is noise, and no shadow's doing.
NOISE: Final = "noise"
OK: Final = "ok"

MAX_RECORD_BYTES: Final = 1 << 28
"""Ceiling of a record's body; a greater length in a frame header is damage, not data."""

Feature = bool | int | float | str

_HEADER: Final = struct.Struct("<II")
HEADER_BYTES: Final = _HEADER.size
_SEQUENCE_DIGITS: Final = 19


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What happened to one request at one model version. Append fields at the end, with a default."""

    schema: int
    id: str
    """Unique for ever: the writing router's incarnation and a sequence number, see `record_id`."""
    kind: str
    """`primary` (the client got this answer) or `shadow` (nobody did)."""
    at: float
    """Unix seconds at which the request was taken in."""
    model: str
    version: int
    variant: str
    reason: str
    """Why this variant: the decision's reason."""
    revision: int
    """The policy revision that decided."""
    protocol: str
    key: str
    """The sticky key, or the digest of a long one; empty when there was none."""
    request_id: str
    """Unique per request, as given back to the client; labels join on it."""
    outcome: str
    """`ok`, or the error kind's name in lower case."""
    message: str
    """The error's message; empty when ok."""
    duration_us: int
    queue_us: int
    """Time spent waiting for the model, part of `duration_us`."""
    batch_size: int
    primary_id: str = ""
    """For a shadow: the `request_id` of the answer that the client got; empty for a primary."""
    inputs: bytes = b""
    """Packed tensors, empty when there are none or when left out."""
    outputs: bytes = b""
    inputs_truncated: bool = False
    """The inputs were over the payload cap and left out."""
    outputs_truncated: bool = False
    features: Mapping[str, Feature] = {}
    """What was looked up before the request came; see `router.requestlog.features`."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A complete frame in a buffer: `[start, end)` with its header. `record` is None when it cannot be read."""

    start: int
    end: int
    record: Record | None


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What a buffer held."""

    records: list[Record]
    consumed: int
    """Bytes up to the end of the last complete frame; what follows is a torn tail or unreadable."""
    corrupt: tuple[tuple[int, int], ...]
    """`[start, end)` of each complete frame that was skipped, so that a caller can count it or keep it aside."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode
_pack_header = _HEADER.pack
_unpack_header = _HEADER.unpack_from


def record_id(incarnation: str, sequence: int) -> str:
    """Name a record: within one incarnation the sequence grows by one per record, in the order of the log."""
    return f"{incarnation}#{sequence}"


def parse_id(name: str) -> tuple[str, int] | None:
    """Return incarnation and sequence number of a record's id; None for one that no router makes."""
    incarnation, _, digits = name.rpartition("#")
    if not (incarnation and digits.isascii() and digits.isdigit() and len(digits) <= _SEQUENCE_DIGITS):
        return None
    return incarnation, int(digits)


def encode_record(record: Record) -> bytes:
    """Frame a record.

    Raises `ValueError` (also as its subclass `UnicodeEncodeError`) or `OverflowError` for a value that msgpack cannot
    hold, or a body over `MAX_RECORD_BYTES`.
    """
    body = _encode(record)
    if len(body) > MAX_RECORD_BYTES:
        raise ValueError(f"a record of {len(body)} bytes is over the limit of {MAX_RECORD_BYTES}")
    return _pack_header(len(body), crc32(body)) + body


def frame_length(header: bytes) -> int:
    """Return the size, header included, of the frame that starts with these bytes; 0 if no writer made them."""
    if len(header) < HEADER_BYTES:
        return 0
    length: int = _unpack_header(header)[0]
    return HEADER_BYTES + length if 1 <= length <= MAX_RECORD_BYTES else 0


def boundary(buffer: bytes | memoryview) -> int:
    """Return the end of the last complete frame, hopping from header to header; bodies are not looked at."""
    position, size = 0, len(buffer)
    while position + HEADER_BYTES <= size:
        length: int = _unpack_header(buffer, position)[0]
        after = position + HEADER_BYTES + length
        if not 1 <= length <= MAX_RECORD_BYTES or after > size:
            break
        position = after
    return position


def iter_frames(buffer: bytes | memoryview) -> Iterator[Frame]:
    """Yield the complete frames of a buffer in order; memory stays that of one record."""
    view = memoryview(buffer)
    position, size = 0, len(view)
    while position + HEADER_BYTES <= size:
        length, checksum = _unpack_header(view, position)
        after = position + HEADER_BYTES + length
        if not 1 <= length <= MAX_RECORD_BYTES or after > size:
            return
        yield Frame(position, after, _read_body(view[position + HEADER_BYTES : after], checksum))
        position = after


def read_records(buffer: bytes | memoryview) -> Reading:
    """Read every record of a buffer that starts at a frame; never raises."""
    records: list[Record] = []
    corrupt: list[tuple[int, int]] = []
    consumed = 0
    for frame in iter_frames(buffer):
        consumed = frame.end
        if frame.record is None:
            corrupt.append((frame.start, frame.end))
        else:
            records.append(frame.record)
    return Reading(records, consumed, tuple(corrupt))


class FirstSeen:
    """Tells a record that is new from one that was read before.

    Records of one incarnation lie in every log in the order of their sequence, so one number per incarnation suffices,
    however long the log.
    """

    def __init__(self, last: Mapping[str, int] | None = None) -> None:
        self._last = dict(last or {})

    @property
    def last(self) -> Mapping[str, int]:
        """Sequence number of the last record asked about, by incarnation: what a successor starts from."""
        return self._last

    def is_new(self, record: Record) -> bool:
        """Return whether this record comes after all those of its incarnation that were asked about; remember it.

        An id that is not of the form of `record_id` was not written by a router; it is taken for new.
        """
        parsed = parse_id(record.id)
        if parsed is None:
            return True
        incarnation, sequence = parsed
        if sequence <= self._last.get(incarnation, 0):
            return False
        self._last[incarnation] = sequence
        return True


def _read_body(body: memoryview, checksum: int) -> Record | None:
    if crc32(body) != checksum:
        return None
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
