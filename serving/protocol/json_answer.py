"""Packed tensors straight to the JSON of an answer, for answers in which only the numbers are new. Pure.

A model gives the same outputs of the same shapes again and again, so all of an answer but its data and its id is known
from the packed header. It is printed once, and an answer is then the known texts with the data's lists between them:
the bytes that `json_codec.encode_json` would print, at a third of its cost.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import msgspec

from serving.protocol.datatypes import DATATYPES
from serving.protocol.json_schema import ResponseDocument, TensorMember, print_json, print_response
from serving.protocol.messages import Buffer
from serving.protocol.packing import header_bytes, read_entries

_EMPTY_DATA = b'"data":[]'
"""Printed nowhere else: inside a JSON string its quotes would be escaped."""


class _Form(msgspec.Struct, frozen=True, gc=False):
    """What answers of one model version with one packed header have in common."""

    texts: tuple[bytes, ...]
    """Before, between and after the outputs' data."""
    numbers: tuple[struct.Struct, ...]
    """How to read each output's data."""
    offsets: tuple[int, ...]
    """Where each output's data begins."""
    size: int
    """Bytes of the packed tensors."""


def print_packed(model: str, version: int, packed: Buffer, request_id: str = "") -> bytes | None:
    """Print an answer with every output in the JSON.

    Returns:
        The JSON; None where an output is BYTES or BF16, or the bytes are not packed tensors: take the long way.
    """
    form = _form(model, version, header_bytes(packed))
    if form is None or form.size != len(packed):
        return None
    texts = form.texts
    if len(form.numbers) == 1 and not request_id:
        return b"".join((texts[0], print_json(form.numbers[0].unpack_from(packed, form.offsets[0])), texts[1], b"}"))
    parts: list[bytes] = []
    for text, numbers, offset in zip(texts, form.numbers, form.offsets, strict=False):
        parts += (text, print_json(numbers.unpack_from(packed, offset)))
    parts.append(texts[-1])
    if request_id:
        parts += (b',"id":', print_json(request_id))
    return b"".join((*parts, b"}"))


@lru_cache(maxsize=1024)
def _form(model: str, version: int, header: bytes) -> _Form | None:
    try:
        entries = read_entries(header[4:])
    except msgspec.MsgspecError:
        return None
    numbers, offsets, size = [], [], len(header)
    for _, datatype, _, nbytes in entries:
        row = DATATYPES.get(datatype)
        if row is None or not row.typecode or nbytes % row.itemsize:
            return None
        numbers.append(struct.Struct(f"<{nbytes // row.itemsize}{row.typecode}"))
        offsets.append(size)
        size += nbytes
    members = [TensorMember(name, datatype, shape, data=()) for name, datatype, shape, _ in entries]
    whole = print_response(ResponseDocument(model, str(version), members))
    texts = whole.removesuffix(b"}").replace(_EMPTY_DATA, b'"data":\0').split(b"\0")
    return _Form(tuple(texts), tuple(numbers), tuple(offsets), size)
