"""Reads the few facts of an ONNX file that its runtime does not tell: opsets, external data, foreign operators. Pure.

A walk over the protobuf wire format, since the `onnx` package is no dependency of ours. Weights are skipped, not read,
so that a file of gigabytes costs no more than its structure. Field numbers are those of `onnx.proto`. The walk visits
whatever can hold a tensor or an operator: initializers, sparse ones too, attributes, subgraphs of control flow,
functions of the model's own, and training information.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from serving.protocol.errors import invalid

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH: Final = 64

#: Messages that lead from a model to its tensors and operators: the fields to descend into and what lies there.
_CHILDREN: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
_MODEL_OPSET_IMPORT, _OPSET_DOMAIN, _OPSET_VERSION = 8, 1, 2
_TENSOR_EXTERNAL_DATA, _ENTRY_KEY, _ENTRY_VALUE = 13, 1, 2
_NODE_OPERATOR, _NODE_DOMAIN = 4, 7
_FUNCTION_NAME, _FUNCTION_DOMAIN = 1, 10

#: Domains whose operators every onnxruntime brings along; all others need a library, which is code.
_BUILT_IN: Final = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft"}
)


class OnnxFile(msgspec.Struct, frozen=True):
    """Facts of one ONNX file."""

    opsets: dict[str, int]
    """Version by domain; the standard operators are `ai.onnx`."""
    external_files: frozenset[str]
    """Paths of external data, as written in the file: not checked."""
    custom_operators: frozenset[str] = frozenset()
    """Operators, as `domain.name`, that neither onnxruntime nor the model's own functions define."""


def read_onnx_file(content: memoryview) -> OnnxFile:
    """Read an ONNX file's facts.

    Raises:
        ServingError: INVALID, the content is no protobuf message.
    """
    opsets: dict[str, int] = {}
    external: set[str] = set()
    called: set[tuple[str, str]] = set()
    defined: set[tuple[str, str]] = set()
    try:
        for number, value in _fields(content):
            if number == _MODEL_OPSET_IMPORT and isinstance(value, memoryview):
                entry = dict(_fields(value))
                opsets[_text(entry.get(_OPSET_DOMAIN)) or "ai.onnx"] = int(entry.get(_OPSET_VERSION, 0))
        for kind, message in _walk(content, "Model", _MAX_DEPTH):
            if kind == "Tensor":
                external.update(_tensor_files(message))
            elif kind == "Node":
                called.add(_named(message, _NODE_DOMAIN, _NODE_OPERATOR))
            elif kind == "Function":
                defined.add(_named(message, _FUNCTION_DOMAIN, _FUNCTION_NAME))
    except (IndexError, TypeError, ValueError) as error:
        raise invalid("the file is no ONNX model: its protobuf cannot be read") from error
    custom = frozenset(f"{domain}.{name}" for domain, name in called - defined if domain not in _BUILT_IN)
    return OnnxFile(opsets, frozenset(external), custom)


def _walk(message: memoryview, kind: str, depth: int) -> Iterator[tuple[str, memoryview]]:
    """Yield a message and all that it leads to, each with its kind."""
    if not depth:
        raise ValueError("nested too deeply")
    yield kind, message
    children = _CHILDREN.get(kind)
    if children is None:
        return
    for number, value in _fields(message):
        if number in children and isinstance(value, memoryview):
            yield from _walk(value, children[number], depth - 1)


def _tensor_files(tensor: memoryview) -> Iterator[str]:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL_DATA and isinstance(value, memoryview):
            entry = dict(_fields(value))
            if _text(entry.get(_ENTRY_KEY)) == "location":
                yield _text(entry.get(_ENTRY_VALUE))


def _named(message: memoryview, domain_field: int, name_field: int) -> tuple[str, str]:
    fields = dict(_fields(message))
    return _text(fields.get(domain_field)), _text(fields.get(name_field))


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
