"""The `data` member of a JSON tensor to raw bytes and back. Pure.

Data may be flat or nested to the full rank of its shape, row-major either way ("Tensor Data", Open Inference Protocol).
JSON has no NaN and no infinity. On the way out every non-finite number prints as null, as `JSON.stringify` does; on the
way in null is NaN for floating-point datatypes, so a missing feature can be sent and an answer can be sent back. Who
must tell NaN from the infinities asks for binary data. Numbers out of their datatype's range are INVALID, never wrapped
or rounded to infinity.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from serving.protocol.checks import check_datatype, element_count, show
from serving.protocol.datatypes import DATATYPES
from serving.protocol.elements import join_elements, split_elements
from serving.protocol.errors import invalid
from serving.protocol.json_schema import parse
from serving.protocol.messages import Buffer, Limits

_OPENS_A_ROW: Final = re.compile(rb"\[\s*\[")
_ELEMENT_TYPES: Final[dict[str, Any]] = {
    "b": bool,
    "i": int,
    "u": int,
    "f": float | None,
    "O": str,
}


class _Form(NamedTuple):
    """What a datatype and a shape ask of their data: found out once, since clients send the same again and again."""

    elements: int
    decode: Callable[[msgspec.Raw], list[Any]]
    """Parses flat data, by far the most common."""
    pack: Callable[..., bytes] | None
    """Packs that many elements; None for BYTES and BF16."""


@functools.lru_cache(maxsize=4096)
def _form(datatype: str, shape: tuple[int, ...], limits: Limits) -> _Form:
    check_datatype(datatype)
    count = element_count(shape, limits)
    row = DATATYPES[datatype]
    kind = "f" if datatype == "BF16" else row.dtype.kind
    return _Form(
        count, _decoder(kind, 1).decode, struct.Struct(f"<{count}{row.typecode}").pack if row.typecode else None
    )


def parse_data(text: msgspec.Raw, datatype: str, shape: tuple[int, ...], limits: Limits) -> bytes:
    """Turn JSON data, flat or nested, into the raw bytes of a datatype and shape."""
    form = _form(datatype, shape, limits)
    try:
        values = form.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # nested, or wrong
        values = _values(text, datatype, shape)
    if len(values) != form.elements:
        raise invalid(f"shape {show(shape)} needs {form.elements} elements, data has {len(values)}")
    if datatype == "BYTES":
        return join_elements([value.encode() for value in values])
    if form.pack is None:
        return _pack(values, datatype)
    try:
        return form.pack(*values)
    except (struct.error, OverflowError):
        return _pack_one_by_one(values, datatype, DATATYPES[datatype].typecode)


def pack_values(values: list[Any], datatype: str) -> bytes:
    """Turn flat values of unchecked types into raw bytes; those of BYTES are bytes already."""
    if datatype == "BYTES":
        return join_elements(values)
    kind = "f" if datatype == "BF16" else DATATYPES[datatype].dtype.kind
    elements: Any = _ELEMENT_TYPES[kind]
    try:
        return _pack(msgspec.convert(values, list[elements]), datatype)
    except msgspec.ValidationError as error:
        raise invalid(f"does not hold {datatype} values: {error}") from None


def _pack(values: list[Any], datatype: str) -> bytes:
    typecode = DATATYPES[datatype].typecode or "f"
    try:
        raw = struct.pack(f"<{len(values)}{typecode}", *values)
    except (struct.error, OverflowError):
        raw = _pack_one_by_one(values, datatype, typecode)
    return _narrow_to_bf16(raw) if datatype == "BF16" else raw


def print_data(datatype: str, data: Buffer) -> Sequence[object]:
    """Turn raw bytes into the flat values of a JSON array.

    Raises:
        ServingError: INVALID where a BYTES element is not UTF-8, since JSON can only carry text.
    """
    if datatype == "BYTES":
        return [_text(index, element) for index, element in enumerate(split_elements(data))]
    if datatype == "BF16":
        widened: list[object] = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").tolist()
        return widened
    row = DATATYPES[datatype]
    return struct.unpack(f"<{len(data) // row.itemsize}{row.typecode}", data)


def _values(text: msgspec.Raw, datatype: str, shape: Sequence[int]) -> list[Any]:
    """Parse the text and flatten it row by row where it is nested."""
    depth = len(shape) if _is_nested(text, len(shape)) else 1
    kind = "f" if datatype == "BF16" else DATATYPES[datatype].dtype.kind
    parsed = parse(_decoder(kind, depth), text, "data")
    return parsed if depth == 1 else _flatten(parsed, shape)


def _is_nested(text: msgspec.Raw, rank: int) -> bool:
    """Tell by its first brackets; rank 0 nests as a bare value, rank 1 looks the same either way."""
    if rank == 1:
        return False
    if rank == 0:
        return not bytes(text).startswith(b"[")
    return _OPENS_A_ROW.match(text) is not None


@functools.cache
def _decoder(kind: str, depth: int) -> msgspec.json.Decoder[Any]:
    """Build the decoder of lists nested `depth` times; few exist, since rank is bounded."""
    kinds: Any = _ELEMENT_TYPES[kind]
    for _ in range(depth):
        kinds = list[kinds]
    return msgspec.json.Decoder(kinds)


def _flatten(nested: Any, shape: Sequence[int]) -> list[Any]:
    """Unfold one axis at a time, holding each to its size."""
    rows = [nested]
    for axis, size in enumerate(shape):
        wrong = set(map(len, rows)) - {size}
        if wrong:
            raise invalid(f"data has {min(wrong)} entries along axis {axis}, shape {show(shape)} says {size}")
        rows = list(itertools.chain.from_iterable(rows))
    return rows


def _pack_one_by_one(values: list[Any], datatype: str, typecode: str) -> bytes:
    """Pack what did not pack in one go: nulls become NaN, and the element out of range is named."""
    pack = struct.Struct(f"<{typecode}").pack
    parts = []
    for index, value in enumerate(values):
        try:
            parts.append(pack(math.nan if value is None else value))
        except (struct.error, OverflowError):
            raise invalid(f"element {index} of data is out of range for {datatype}") from None
    return b"".join(parts)


def _narrow_to_bf16(raw: bytes) -> bytes:
    """Round FP32 to the nearest BF16, ties to even: BF16 is the upper half of FP32."""
    bits = np.frombuffer(raw, "<u4").astype("<u8")
    upper = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    overflown = np.flatnonzero((upper & 0x7FFF) == 0x7F80)  # JSON has no infinity, so rounding made it
    if overflown.size:
        raise invalid(f"element {overflown[0]} of data is out of range for BF16")
    narrowed: bytes = upper.tobytes()
    return narrowed


def _text(index: int, element: memoryview) -> str:
    try:
        return str(element, "utf-8")
    except UnicodeDecodeError:
        raise invalid(f"element {index} is not UTF-8, so JSON cannot carry it: ask for binary data") from None
