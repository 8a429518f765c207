"""Golden examples as files: a V2 inference request and the V2 response to it, in JSON. Pure.

Meant to be read, compared and edited by people. The request is read as the HTTP door reads one, so that every example
is a request that a client could send. The response must lose nothing: floats keep every digit of their type; NaN and
infinities, for which V2 has no form, are written as Python's `json` does, bytes that are not UTF-8 as lone surrogates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from serving.protocol.arrays import to_array, to_tensor
from serving.protocol.datatypes import DATATYPES
from serving.protocol.errors import ServingError, invalid
from serving.protocol.json_codec import decode_json
from serving.protocol.json_data import print_data
from serving.protocol.messages import Limits, Tensor
from serving.registry.golden import Golden

_LIMITS: Final = Limits()


class _Output(msgspec.Struct):
    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any]


class _Response(msgspec.Struct):
    outputs: list[_Output]


def encode_request(inputs: Iterable[Tensor]) -> bytes:
    """Write inputs as a V2 inference request; infinities become NaN, which JSON requests spell null."""
    documents = [_document(tensor, print_data(tensor.datatype, tensor.data)) for tensor in inputs]
    return msgspec.json.encode({"inputs": documents}) + b"\n"


def decode_request(content: bytes) -> tuple[Tensor, ...]:
    """Read the inputs of a V2 inference request; what else it asks for does not matter to an example.

    Raises:
        ServingError: INVALID, TOO_LARGE or UNSUPPORTED that names the field.
    """
    try:
        return decode_json(content, _LIMITS).inputs
    except ServingError as error:
        raise ServingError(error.kind, f"example: {error}") from None


def encode_response(outputs: Iterable[Tensor]) -> bytes:
    """Write outputs as a V2 inference response."""
    documents = [_document(tensor, _exact(tensor)) for tensor in outputs]
    return (json.dumps({"outputs": documents}, separators=(",", ":")) + "\n").encode()


def decode_response(content: bytes) -> tuple[Tensor, ...]:
    """Read what `encode_response` has written.

    Raises:
        ServingError: INVALID, it was written by something else.
    """
    try:
        document = msgspec.convert(json.loads(content), _Response)
        return tuple(_tensor(output) for output in document.outputs)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise invalid(f"the recorded golden answer cannot be read: {error}") from error


def golden_digest(golden: Golden) -> str:
    """Digest an example and its answer as they are written."""
    return hashlib.sha256(encode_request(golden.inputs) + encode_response(golden.outputs)).hexdigest()


def _document(tensor: Tensor, data: Sequence[object]) -> dict[str, object]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape, "data": data}


def _exact(tensor: Tensor) -> Sequence[object]:
    if tensor.datatype == "BYTES":
        return [element.decode("utf-8", "surrogateescape") for element in to_array(tensor).ravel().tolist()]
    return print_data(tensor.datatype, tensor.data)


def _tensor(output: _Output) -> Tensor:
    dtype = DATATYPES[output.datatype].dtype
    if output.datatype == "BYTES":
        array = np.empty(len(output.data), dtype=object)
        array[:] = [element.encode("utf-8", "surrogateescape") for element in output.data]
    elif output.datatype == "BF16":
        array = (np.array(output.data, np.float32).view(np.uint32) >> 16).astype(dtype)
    else:
        array = np.array(output.data, dtype=dtype)
    return to_tensor(output.name, array.reshape(output.shape), output.datatype)
