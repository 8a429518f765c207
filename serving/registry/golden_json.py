"""Golden examples as files: a V2 inference request and the V2 response to it, in JSON. Pure.

Meant to be read, compared and edited by people. Floats keep every digit that their type has, so nothing is lost; NaN
and infinities are written as `NaN` and `Infinity`, as Python's `json` does, since V2 does not say how. BF16 is written
widened; bytes that are not UTF-8 are written as lone surrogates.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from serving.backends.backend import Array
from serving.protocol.arrays import to_array, to_tensor
from serving.protocol.datatypes import DATATYPES
from serving.protocol.errors import invalid
from serving.protocol.messages import Tensor
from serving.registry.golden import Golden

#: Python types that JSON elements may have, by the kind of the numpy dtype. Nothing is converted silently.
_ACCEPTED: Final[dict[str, tuple[type, ...]]] = {
    "b": (bool,),
    "i": (int,),
    "u": (int,),
    "f": (float, int),
    "O": (str,),
}


class _TensorDocument(msgspec.Struct):
    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any]


def encode_request(inputs: Iterable[Tensor]) -> bytes:
    """Write the inputs as a V2 inference request."""
    return _encode("inputs", inputs)


def encode_response(outputs: Iterable[Tensor]) -> bytes:
    """Write the outputs as a V2 inference response."""
    return _encode("outputs", outputs)


def decode_request(content: bytes) -> tuple[Tensor, ...]:
    """Read the inputs of a V2 inference request; its other fields do not matter for an example.

    Raises:
        ServingError: INVALID that names the field.
    """
    return _decode("inputs", content)


def decode_response(content: bytes) -> tuple[Tensor, ...]:
    """Read the outputs of a V2 inference response; raises as `decode_request`."""
    return _decode("outputs", content)


def golden_digest(golden: Golden) -> str:
    """Digest an example and its answer as they are written."""
    return hashlib.sha256(encode_request(golden.inputs) + encode_response(golden.outputs)).hexdigest()


def _encode(key: str, tensors: Iterable[Tensor]) -> bytes:
    documents = [
        {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape, "data": _to_json(tensor)}
        for tensor in tensors
    ]
    return (json.dumps({key: documents}) + "\n").encode()


def _decode(key: str, content: bytes) -> tuple[Tensor, ...]:
    try:
        document = json.loads(content)
        documents = msgspec.convert(document, dict[str, Any]).get(key)
        if not documents:
            raise invalid(f"the example has no '{key}'")
        return tuple(_to_tensor(tensor) for tensor in msgspec.convert(documents, list[_TensorDocument]))
    except msgspec.ValidationError as error:
        raise invalid(f"the example's '{key}': {error}") from error
    except (ValueError, RecursionError) as error:
        raise invalid(f"the example is no valid JSON: {error}") from error


def _to_json(tensor: Tensor) -> list[Any]:
    array = to_array(tensor)
    if tensor.datatype == "BYTES":
        return [element.decode("utf-8", "surrogateescape") for element in array.ravel().tolist()]
    if tensor.datatype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    values: list[Any] = array.ravel().tolist()
    return values


def _to_tensor(document: _TensorDocument) -> Tensor:
    name, datatype = document.name, document.datatype
    if datatype not in DATATYPES:
        raise invalid(f"'{name}' has the unknown datatype {datatype[:40]!r}; there are {', '.join(DATATYPES)}")
    values = _flattened(document.data)
    if any(size < 0 for size in document.shape) or len(values) != math.prod(document.shape):
        raise invalid(f"'{name}' has {len(values)} elements, which do not fill its shape {list(document.shape)}")
    try:
        return to_tensor(name, _array(datatype, values).reshape(document.shape), datatype)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"'{name}' has an element that is no {datatype}: {error}") from error


def _flattened(data: Sequence[Any]) -> list[Any]:
    """Lay nested lists out row-major: V2 allows both forms."""
    values: list[Any] = []
    for element in data:
        if isinstance(element, list):
            values += _flattened(element)
        else:
            values.append(element)
    return values


def _array(datatype: str, values: list[Any]) -> Array:
    dtype = DATATYPES[datatype].dtype
    accepted = _ACCEPTED["f" if datatype == "BF16" else dtype.kind]
    for value in values:
        if type(value) not in accepted:  # not `isinstance`: a bool would pass for an int
            raise TypeError(repr(value)[:80])
    if datatype == "BYTES":
        array = np.empty(len(values), dtype=object)
        array[:] = [value.encode("utf-8", "surrogateescape") for value in values]
        return array
    if datatype == "BF16":
        return (np.array(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return np.array(values, dtype=dtype)
