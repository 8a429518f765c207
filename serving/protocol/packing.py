"""Tensors as one run of bytes: the form that crosses the tensor channel and lies in the request log. Pure.

Layout: u32 little-endian header length, the header, then each tensor's raw data without gaps. The header is a
MessagePack array of `[name, datatype, shape, nbytes]`. Serving sees the same few headers again and again, so both
directions remember them: packing one FP32 row costs one join, unpacking one lookup and one slice per tensor. Names are
chosen by clients, and packed before a model has seen them, so what is remembered is bounded in number and in size.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from serving.protocol.errors import invalid
from serving.protocol.messages import Buffer, Tensor

_LENGTH: Final = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode

#: (name, datatype, shape, nbytes)
Entry = tuple[str, str, tuple[int, ...], int]
_decode_entries = msgspec.msgpack.Decoder(tuple[Entry, ...]).decode

#: Headers remembered in one direction; as Python objects they take up to twenty times as much.
REMEMBERED_BYTES: Final = 512 * 1024

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _Remembered(dict[_Key, _Value]):
    """What was made before. When it is full it starts anew: making a header again costs a microsecond."""

    size_bytes = 0

    def keep(self, key: _Key, value: _Value, size_bytes: int) -> None:
        """Remember an entry whose header has this size; one of a whole sixteenth of the room is not worth it."""
        if size_bytes > REMEMBERED_BYTES // 16:
            return
        if self.size_bytes + size_bytes > REMEMBERED_BYTES:
            self.clear()
            self.size_bytes = 0
        self[key] = value
        self.size_bytes += size_bytes


_headers: Final = _Remembered[tuple[Entry, ...], bytes]()
_entries: Final = _Remembered[bytes, tuple[Entry, ...]]()


def pack_header(entries: tuple[Entry, ...]) -> bytes:
    """Build the length-prefixed header for tensors of these names, datatypes, shapes and sizes."""
    header = _headers.get(entries)
    if header is None:
        encoded = _encode(entries)
        header = _LENGTH.pack(len(encoded)) + encoded
        _headers.keep(entries, header, len(header))
    return header


def pack_tensors(tensors: Sequence[Tensor]) -> bytes:
    """Join tensors into one run of bytes; data is copied once, by the join."""
    header = pack_header(tuple([(t.name, t.datatype, t.shape, len(t.data)) for t in tensors]))
    return b"".join([header, *[t.data for t in tensors]])


def header_bytes(packed: Buffer) -> bytes:
    """Copy the length-prefixed header: requests, or answers, with equal ones differ in nothing but their data."""
    return bytes(packed[: 4 + int.from_bytes(packed[:4], "little")])


def read_entries(header: bytes) -> tuple[Entry, ...]:
    """Read a header without its length.

    Raises:
        msgspec.MsgspecError, UnicodeDecodeError: the bytes are not of this form.
    """
    entries = _entries.get(header)
    if entries is None:
        entries = _decode_entries(header)
        _entries.keep(header, entries, len(header))
    return entries


def unpack_tensors(packed: Buffer) -> tuple[Tensor, ...]:
    """Split what `pack_tensors` joined; every tensor's data is a view of `packed`.

    Raises:
        ServingError: INVALID when the bytes are not of this form. Only a broken peer or a torn log gets here.
    """
    view = memoryview(packed)
    try:
        start = 4 + _LENGTH.unpack_from(view)[0]
        entries = read_entries(bytes(view[4:start]))
    except (struct.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        message = f"packed tensors: the header cannot be read ({error})"
        raise invalid(message) from error
    tensors = []
    for name, datatype, shape, nbytes in entries:
        end = start + nbytes
        tensors.append(Tensor(name, datatype, shape, view[start:end]))
        start = end
    if start != len(view):
        message = f"packed tensors: the header promises {start} bytes, {len(view)} came"
        raise invalid(message)
    return tuple(tensors)
