"""Reads the few facts of an ONNX file that its runtime does not tell: opsets and external data files. Pure.

A walk over the protobuf wire format, since the `onnx` package is no dependency of ours. Weights are skipped, not read,
so that a file of gigabytes costs no more than its structure. Field numbers are those of `onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from serving.protocol.errors import invalid

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH: Final = 32

#: Messages that lead from a model to its tensors: for each, the fields to descend into and what lies there.
_CHILDREN: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
_MODEL_OPSET_IMPORT, _OPSET_DOMAIN, _OPSET_VERSION = 8, 1, 2
_TENSOR_EXTERNAL_DATA, _ENTRY_KEY, _ENTRY_VALUE = 13, 1, 2


class OnnxFile(msgspec.Struct, frozen=True):
    """Facts of one ONNX file."""

    opsets: dict[str, int]
    """Version by domain; the standard operators are `ai.onnx`."""
    external_files: frozenset[str]
    """Paths of external data, as written in the file: not checked."""


def read_onnx_file(content: memoryview) -> OnnxFile:
    """Read an ONNX file's facts.

    Raises:
        ServingError: INVALID, the content is no protobuf message.
    """
    opsets: dict[str, int] = {}
    try:
        for number, value in _fields(content):
            if number == _MODEL_OPSET_IMPORT and isinstance(value, memoryview):
                entry = dict(_fields(value))
                opsets[_text(entry.get(_OPSET_DOMAIN)) or "ai.onnx"] = int(entry.get(_OPSET_VERSION, 0))
        external = frozenset(_external_files(content, "Model", _MAX_DEPTH))
    except (IndexError, TypeError, ValueError) as error:
        raise invalid("the file is no ONNX model: its protobuf cannot be read") from error
    return OnnxFile(opsets, external)


def _external_files(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if not depth:
        raise ValueError("nested too deeply")
    if kind == "Tensor":
        yield from _tensor_files(message)
        return
    children = _CHILDREN[kind]
    for number, value in _fields(message):
        if number in children and isinstance(value, memoryview):
            yield from _external_files(value, children[number], depth - 1)


def _tensor_files(tensor: memoryview) -> Iterator[str]:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL_DATA and isinstance(value, memoryview):
            entry = dict(_fields(value))
            if _text(entry.get(_ENTRY_KEY)) == "location":
                yield _text(entry.get(_ENTRY_VALUE))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field; values of fixed width, which none of ours has, as 0."""
    offset = 0
    while offset < len(message):
        key, offset = _varint(message, offset)
        wire = key & 7
        value: int | memoryview = 0
        if wire == _VARINT:
            value, offset = _varint(message, offset)
        elif wire == _BYTES:
            length, offset = _varint(message, offset)
            if offset + length > len(message):
                raise ValueError("a field is longer than its message")
            value = message[offset : offset + length]
            offset += length
        elif wire in (_FIXED32, _FIXED64):
            offset += 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {wire}")
        yield key >> 3, value


def _varint(message: memoryview, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def _text(value: int | memoryview | None) -> str:
    return bytes(value).decode() if isinstance(value, memoryview) else ""
