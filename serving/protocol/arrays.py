"""Tensors to numpy arrays and back. Pure.

Numeric tensors become views of their raw bytes. BYTES becomes an object array of `bytes`. BF16, which numpy lacks, is
carried as the uint16 bit pattern: a backend that wants numbers widens it itself.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from serving.protocol.datatypes import DATATYPES, datatype_of
from serving.protocol.errors import invalid
from serving.protocol.messages import Buffer, Tensor

Array = npt.NDArray[np.generic]


def to_array(tensor: Tensor) -> Array:
    """View a tensor as an array of its shape; read-only where the data is."""
    if tensor.datatype == "BYTES":
        return bytes_array(tensor.data, tensor.shape)
    return np.frombuffer(tensor.data, dtype=DATATYPES[tensor.datatype].dtype).reshape(tensor.shape)


def to_tensor(name: str, array: Array, datatype: str | None = None) -> Tensor:
    """Turn an array into a tensor, copying once; strings and objects become BYTES, text as UTF-8."""
    kind = datatype or datatype_of(array.dtype)
    if kind == "BYTES":
        return Tensor(name, kind, array.shape, pack_bytes(array))
    return Tensor(name, kind, array.shape, array.astype(DATATYPES[kind].dtype, copy=False).tobytes())


def bytes_array(data: Buffer, shape: tuple[int, ...]) -> Array:
    """Split length-prefixed BYTES data into an object array of `bytes` ("Binary Tensor Data Extension")."""
    view = memoryview(data)
    elements: list[bytes] = []
    offset = 0
    while offset < len(view):
        if offset + 4 > len(view):
            raise invalid("BYTES data ends inside a length prefix")
        (length,) = struct.unpack_from("<I", view, offset)
        offset += 4
        if offset + length > len(view):
            raise invalid(f"BYTES element {len(elements)} claims {length} bytes, {len(view) - offset} are left")
        elements.append(bytes(view[offset : offset + length]))
        offset += length
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)


def pack_bytes(array: Array) -> bytes:
    """Length-prefix each element of an object or string array, row-major."""
    parts: list[bytes] = []
    for element in array.ravel().tolist():
        raw = element if isinstance(element, bytes) else str(element).encode()
        parts += (struct.pack("<I", len(raw)), raw)
    return b"".join(parts)
