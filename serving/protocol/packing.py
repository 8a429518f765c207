"""Tensors as one run of bytes: the form that crosses the tensor channel and lies in the request log. Pure.

Layout: u32 little-endian header length, the header, then each tensor's raw data without gaps. The header is a
MessagePack array of `[name, datatype, shape, nbytes]`. Serving sees the same few headers again and again, so both
directions keep them in a bounded cache: packing one FP32 row costs one join, unpacking one lookup and one slice per
tensor.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from serving.protocol.errors import invalid
from serving.protocol.messages import Buffer, Tensor

_LENGTH: Final = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode

#: (name, datatype, shape, nbytes)
Entry = tuple[str, str, tuple[int, ...], int]
_decode_entries = msgspec.msgpack.Decoder(tuple[Entry, ...]).decode


@lru_cache(maxsize=4096)
def pack_header(entries: tuple[Entry, ...]) -> bytes:
    """Build the length-prefixed header for tensors of these names, datatypes, shapes and sizes."""
    header: bytes = _encode(entries)
    return _LENGTH.pack(len(header)) + header


def pack_tensors(tensors: Sequence[Tensor]) -> bytes:
    """Join tensors into one run of bytes; data is copied once, by the join."""
    header = pack_header(tuple([(t.name, t.datatype, t.shape, len(t.data)) for t in tensors]))
    return b"".join([header, *[t.data for t in tensors]])


def header_bytes(packed: Buffer) -> bytes:
    """Copy the length-prefixed header: requests, or answers, with equal ones differ in nothing but their data."""
    return bytes(packed[: 4 + int.from_bytes(packed[:4], "little")])


@lru_cache(maxsize=4096)
def read_entries(header: bytes) -> tuple[Entry, ...]:
    """Read a header without its length.

    Raises:
        msgspec.MsgspecError, UnicodeDecodeError: the bytes are not of this form.
    """
    return _decode_entries(header)


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
