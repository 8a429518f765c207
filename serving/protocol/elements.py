"""BYTES data: elements, each after its length as a 4-byte little-endian unsigned integer. Pure.

"Binary Tensor Data Extension" of the Open Inference Protocol. Data from outside is held to its shape with
`check_framing`, which allocates nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from serving.protocol.errors import invalid
from serving.protocol.messages import Buffer

_LENGTH: Final = struct.Struct("<I")


def check_framing(data: Buffer, count: int) -> None:
    """Walk BYTES data: exactly `count` elements, each as long as its prefix says.

    Raises:
        ServingError: INVALID.
    """
    size = len(data)
    if size < 4 * count:  # before the walk: a lying shape costs nothing
        raise invalid(f"{count} BYTES elements need at least {4 * count} bytes, got {size}")
    offset = 0
    for index in range(count):
        if offset + 4 > size:
            raise invalid(f"BYTES data ends before element {index} of {count}")
        (length,) = _LENGTH.unpack_from(data, offset)
        offset += 4 + length
        if offset > size:
            raise invalid(f"BYTES element {index} claims {length} bytes, {size - offset + length} are left")
    if offset != size:
        raise invalid(f"{size - offset} bytes are left after the last of {count} BYTES elements")


def split_elements(data: Buffer) -> list[memoryview]:
    """Cut framed data into views of its elements, however many they are.

    Raises:
        ServingError: INVALID, the data is cut off.
    """
    view, offset, size = memoryview(data), 0, len(data)
    elements: list[memoryview] = []
    while offset < size:
        start = offset + 4
        if start > size:
            raise invalid("BYTES data ends inside a length prefix")
        (length,) = _LENGTH.unpack_from(view, offset)
        offset = start + length
        if offset > size:
            raise invalid(f"BYTES element {len(elements)} claims {length} bytes, {size - start} are left")
        elements.append(view[start:offset])
    return elements


def join_elements(elements: Iterable[bytes]) -> bytes:
    """Frame elements."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))
