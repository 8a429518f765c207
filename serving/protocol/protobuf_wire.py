"""The little of protobuf's wire format that saves copies: cut one field out of a message, put one on. Pure.

A message is a run of fields, each a varint tag (`number << 3 | wire type`) and a value; fields may come in any order
and messages concatenate ("Encoding", protobuf documentation). So large byte fields can be sliced out of a received
message or appended to a serialised one without protobuf ever holding them.
"""

from __future__ import annotations

from serving.protocol.errors import invalid, too_large
from serving.protocol.messages import Buffer

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5


def cut_field(message: Buffer, number: int, *, max_fields: int) -> tuple[bytes, list[memoryview]]:
    """Cut every byte string of field `number` out of a message.

    Counting the fields is the guard against a message of millions of empty ones, two bytes each on the wire and a
    hundred in memory.

    Returns:
        The message without the field, and views of the field's values.

    Raises:
        ServingError: INVALID for broken framing, TOO_LARGE for more than `max_fields` fields in all.
    """
    view = memoryview(message)
    kept: list[memoryview] = []
    values: list[memoryview] = []
    offset = kept_from = fields = 0
    while offset < len(view):
        fields += 1
        if fields > max_fields:
            raise too_large(f"the message has more than {max_fields} fields")
        start = offset
        tag, offset = _read_varint(view, offset)
        value_start, offset = _value_bounds(view, offset, tag & 7)
        if tag == number << 3 | _DELIMITED:
            values.append(view[value_start:offset])
            kept.append(view[kept_from:start])
            kept_from = offset
    kept.append(view[kept_from:])
    return b"".join(kept), values


def byte_field(number: int, value: Buffer) -> tuple[bytes, Buffer]:
    """Frame a byte string as field `number`: the two parts to append to a serialised message."""
    return field_head(number, len(value)), value


def field_head(number: int, size: int) -> bytes:
    """Write what stands before the `size` bytes of a byte string that is field `number`."""
    return write_varint(number << 3 | _DELIMITED) + write_varint(size)


def write_varint(value: int) -> bytes:
    """Write an unsigned integer, seven bits a byte, low bits first."""
    if value < 0x80:
        return bytes((value,))
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _value_bounds(view: memoryview, offset: int, wire_type: int) -> tuple[int, int]:
    """Find where a value starts and ends; groups, which proto3 has not, are refused."""
    if wire_type == _DELIMITED:
        length, offset = _read_varint(view, offset)
        end = offset + length
    elif wire_type == _VARINT:
        _, end = _read_varint(view, offset)
    elif wire_type == _FIXED64:
        end = offset + 8
    elif wire_type == _FIXED32:
        end = offset + 4
    else:
        raise invalid(f"the message has a field of wire type {wire_type}")
    if end > len(view):
        raise invalid("the message ends inside a field")
    return offset, end


def _read_varint(view: memoryview, offset: int) -> tuple[int, int]:
    value = shift = 0
    for position in range(offset, min(offset + 10, len(view))):
        byte = view[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
    raise invalid("the message ends inside a number, or has one beyond 64 bits")
