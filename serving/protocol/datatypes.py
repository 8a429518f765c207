"""Open Inference Protocol datatypes: sizes, numpy dtypes, struct codes, in one table. Pure.

Source: Open Inference Protocol v2, "Tensor Data Types". Raw data is little-endian and row-major; BYTES elements are
each prefixed by their length as a 4-byte little-endian unsigned integer ("Binary Tensor Data Extension").
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt


class Datatype(NamedTuple):
    """One row of the table."""

    name: str
    itemsize: int
    """Bytes of one element; 0 for BYTES, whose elements vary."""
    dtype: np.dtype[np.generic]
    """The numpy dtype that carries it. BF16 has none of its own and travels as its uint16 bit pattern."""
    typecode: str
    """Code of the `struct` module; empty for BF16 and BYTES, which it lacks."""


def _row(name: str, dtype: str, typecode: str = "") -> Datatype:
    resolved = np.dtype(dtype)
    return Datatype(name, 0 if dtype == "O" else resolved.itemsize, resolved, typecode)


DATATYPES: Final[dict[str, Datatype]] = {
    row.name: row
    for row in (
        _row("BOOL", "?", "?"),
        _row("UINT8", "u1", "B"),
        _row("UINT16", "<u2", "H"),
        _row("UINT32", "<u4", "I"),
        _row("UINT64", "<u8", "Q"),
        _row("INT8", "i1", "b"),
        _row("INT16", "<i2", "h"),
        _row("INT32", "<i4", "i"),
        _row("INT64", "<i8", "q"),
        _row("FP16", "<f2", "e"),
        _row("BF16", "<u2"),
        _row("FP32", "<f4", "f"),
        _row("FP64", "<f8", "d"),
        _row("BYTES", "O"),
    )
}

_BY_DTYPE: Final[dict[np.dtype[np.generic], str]] = {
    row.dtype: row.name for row in DATATYPES.values() if row.name not in ("BF16", "BYTES")
}


def datatype_of(dtype: npt.DTypeLike) -> str:
    """Name the datatype that carries a numpy dtype; strings and objects are BYTES.

    Raises:
        KeyError: the dtype has no counterpart in the protocol (complex numbers, dates).
    """
    resolved = np.dtype(dtype)
    if resolved.kind in "OSU":
        return "BYTES"
    return _BY_DTYPE[resolved.newbyteorder("<") if resolved.byteorder == ">" else resolved]
