"""The values that travel from door to model and back. Pure.

A tensor's data stays raw bytes all the way: the form of the V2 binary extension, of gRPC `raw_input_contents`, of our
tensor channel and of the request log is one and the same, so no stage converts what the next one would convert back.
Structs are immutable and opted out of garbage collection: they hold no cycles and are made per request.
"""

from __future__ import annotations

import msgspec

Parameter = bool | int | float | str
Buffer = bytes | memoryview


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """A named tensor.

    `data` holds the elements little-endian and row-major, exactly `prod(shape) * itemsize` bytes, or for BYTES the
    length-prefixed elements. Codecs guarantee it; nobody downstream checks again.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Buffer


class RequestedOutput(msgspec.Struct, frozen=True, gc=False):
    """One entry of a request's `outputs`: a name and how to send it."""

    name: str
    binary: bool = False
    """Send as raw bytes after the JSON header (HTTP only)."""
    class_count: int = 0
    """Top-k classification instead of the tensor when above 0 ("Classification Extension")."""


class InferRequest(msgspec.Struct, frozen=True, gc=False):
    """An inference request as decoded by a codec, before any model has seen it."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()
    """Empty means all outputs."""
    id: str = ""
    """The client's own id, echoed in the answer."""
    parameters: dict[str, Parameter] = {}
    binary_output: bool = False
    """Send outputs as raw bytes unless an output says otherwise (`binary_data_output`)."""


class InferResponse(msgspec.Struct, frozen=True, gc=False):
    """An answer, ready for a codec."""

    model: str
    version: str
    outputs: tuple[Tensor, ...]
    id: str = ""
    parameters: dict[str, Parameter] = {}


class TensorSpec(msgspec.Struct, frozen=True):
    """What a model declares of one tensor: -1 in `shape` is a dynamic dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Signature(msgspec.Struct, frozen=True):
    """What a model takes and gives; answers V2 model metadata and checks requests."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    platform: str = ""
    """As V2 metadata wants it, e.g. `onnxruntime_onnx`."""
    batchable: bool = False
    """Every input's and output's first axis is dynamic, so requests may be stacked along it."""


class Limits(msgspec.Struct, frozen=True, cache_hash=True):
    """Ceilings that codecs enforce before they allocate anything."""

    max_body_bytes: int = 64 * 1024 * 1024
    max_tensors: int = 256
    max_rank: int = 16
    max_elements: int = 1 << 28
