"""Tensors to numpy arrays and back. Pure.

Numeric tensors become views of their raw bytes. BYTES becomes an object array of `bytes`. BF16, which numpy lacks, is
carried as the uint16 bit pattern: a backend that wants numbers widens it itself.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.protocol.datatypes import DATATYPES, datatype_of
from serving.protocol.elements import join_elements, split_elements
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
    """Make an object array of `bytes` from BYTES data.

    Raises:
        ServingError: INVALID, the data is cut off.
    """
    elements = split_elements(data)
    array = np.empty(len(elements), dtype=object)
    array[:] = [bytes(element) for element in elements]
    return array.reshape(shape)


def pack_bytes(array: Array) -> bytes:
    """Make BYTES data of an object or string array, row-major; what is not bytes becomes UTF-8 text."""
    elements = array.ravel().tolist()
    return join_elements([element if isinstance(element, bytes) else str(element).encode() for element in elements])
