"""`ModelInfer` messages read and written without protobuf, where only an id and the tensors' data are new. Pure.

A client sends the same names, datatypes and shapes again and again, and a model gives the same back. All of such a
message but its id and its data, the *head*, is read or printed once by protobuf and remembered as a form. A request is
then its head looked up and its data sliced, at a tenth of the cost; an answer is known bytes with id and data between
them.

What a form does not cover is None, and takes the long way of `grpc_codec`: parameters, typed contents, BYTES and BOOL
(whose data must be looked at), anything longer than usual, anything wrong. So every error is the long way's own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from serving.protocol.checks import check_body_size, check_names, element_count
from serving.protocol.datatypes import DATATYPES
from serving.protocol.errors import ServingError
from serving.protocol.grpc_codec import LARGE_BYTES, decode_infer, requested_outputs
from serving.protocol.messages import Buffer, InferRequest, Limits, RequestedOutput, Tensor
from serving.protocol.packing import header_bytes, read_entries
from serving.protocol.pb import open_inference_pb2 as pb
from serving.protocol.protobuf_wire import byte_field, field_head

#: Tags of the fields that a head may have, and of those that are not of it; all are byte strings on the wire.
_MODEL, _VERSION, _ID, _INPUT, _OUTPUT, _RAW = (
    getattr(pb.ModelInferRequest, f"{name}_FIELD_NUMBER") << 3 | 2
    for name in ("MODEL_NAME", "MODEL_VERSION", "ID", "INPUTS", "OUTPUTS", "RAW_INPUT_CONTENTS")
)
_OF_HEAD: Final = frozenset({_MODEL, _VERSION, _INPUT, _OUTPUT})
#: Datatypes whose data can be wrong though it has the right size.
_LOOKED_AT: Final = frozenset({"BOOL", "BYTES"})
_RAW_INPUTS: Final = pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_RAW_OUTPUTS: Final = pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
_RESPONSE_ID: Final = pb.ModelInferResponse.ID_FIELD_NUMBER
#: Heads worth remembering are short; a cache of a thousand is a megabyte then, whoever fills it.
_MAX_HEAD_BYTES: Final = 1024
_REMEMBERED: Final = 1024


class _RawInput(msgspec.Struct, frozen=True, gc=False):
    """An input whose data comes as one entry of `raw_input_contents`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    field_head: bytes
    """Tag and length of that entry."""
    nbytes: int


class _RequestForm(msgspec.Struct, frozen=True, gc=False):
    """What requests with one head have in common."""

    model: str
    version: str
    inputs: tuple[_RawInput, ...]
    outputs: tuple[RequestedOutput, ...]
    raw_bytes: int
    """Bytes of all entries of `raw_input_contents`, tags and lengths included."""


class _AnswerForm(msgspec.Struct, frozen=True, gc=False):
    """What answers of one model version with one packed header have in common."""

    before_id: bytes
    after_id: bytes
    raw: tuple[tuple[bytes, int, int], ...]
    """Of each output: tag and length of its entry, and where in the packed tensors its data begins and ends."""
    packed_bytes: int


def read_infer(body: Buffer, limits: Limits) -> tuple[str, str, InferRequest]:
    """Read a `ModelInferRequest`: the short way where it has a form, else as `grpc_codec.decode_infer` does.

    Raises:
        ServingError: INVALID, TOO_LARGE or UNSUPPORTED, naming the field.
    """
    check_body_size(len(body), limits)
    known = _read_known(memoryview(body) if len(body) >= LARGE_BYTES else body, limits)
    return known if known is not None else decode_infer(body, limits)


def print_known(model: str, version: int, packed: Buffer, request_id: str = "") -> bytes | None:
    """Write packed outputs as a `ModelInferResponse`: the bytes that `grpc_codec.encode_infer_response` writes.

    Returns:
        None where the bytes are not packed tensors: take the long way.
    """
    form = _answer_form(model, version, header_bytes(packed))
    if form is None or form.packed_bytes != len(packed):
        return None
    parts: list[Buffer] = [form.before_id]
    if request_id:
        parts += byte_field(_RESPONSE_ID, request_id.encode())
    parts.append(form.after_id)
    for head, start, end in form.raw:
        parts += (head, packed[start:end])
    return b"".join(parts)


def _read_known(body: Buffer, limits: Limits) -> tuple[str, str, InferRequest] | None:
    found = _split(body)
    if found is None:
        return None
    head, request_id, offset = found
    form = _request_form(head, limits)
    if form is None or offset + form.raw_bytes != len(body):
        return None
    tensors = []
    for known in form.inputs:
        start = offset + len(known.field_head)
        if body[offset:start] != known.field_head:
            return None
        offset = start + known.nbytes
        tensors.append(Tensor(known.name, known.datatype, known.shape, body[start:offset]))
    return form.model, form.version, InferRequest(tuple(tensors), form.outputs, request_id)


def _split(body: Buffer) -> tuple[bytes, str, int] | None:
    """Part a message into its head, its id, and where its raw contents begin; None where it is not of that build."""
    offset, limit = 0, min(len(body) - 1, _MAX_HEAD_BYTES)
    id_start = id_end = 0
    request_id = ""
    while offset < limit:
        tag = body[offset]
        if tag == _RAW:
            head = bytes(body[:id_start]) + bytes(body[id_end:offset]) if id_end else bytes(body[:offset])
            return head, request_id, offset
        end = offset + 2 + body[offset + 1]
        if body[offset + 1] >= 0x80:  # a length of two bytes or more
            return None
        if tag == _ID and not id_end:
            id_start, id_end = offset, end
            try:
                request_id = str(body[offset + 2 : end], "utf-8")
            except UnicodeDecodeError:
                return None
        elif tag not in _OF_HEAD:
            return None
        offset = end
    return None


@lru_cache(maxsize=_REMEMBERED)
def _request_form(head: bytes, limits: Limits) -> _RequestForm | None:
    """Read a head as the long way reads a message; None where the data would have to be looked at, or it is wrong."""
    try:
        message = pb.ModelInferRequest.FromString(head)
        check_names("inputs", [tensor.name for tensor in message.inputs], limits)
        inputs = [known for tensor in message.inputs if (known := _raw_input(tensor, limits))]
        outputs = requested_outputs(message, limits)
    except (DecodeError, ServingError):
        return None
    if len(inputs) != len(message.inputs):
        return None
    raw_bytes = sum([len(known.field_head) + known.nbytes for known in inputs])
    return _RequestForm(message.model_name, message.model_version, tuple(inputs), outputs, raw_bytes)


def _raw_input(tensor: pb.ModelInferRequest.InferInputTensor, limits: Limits) -> _RawInput | None:
    row = DATATYPES.get(tensor.datatype)
    if row is None or row.name in _LOOKED_AT or tensor.parameters or tensor.contents.ListFields():
        return None
    shape = tuple(tensor.shape)
    nbytes = element_count(shape, limits) * row.itemsize
    return _RawInput(tensor.name, row.name, shape, field_head(_RAW_INPUTS, nbytes), nbytes)


@lru_cache(maxsize=_REMEMBERED)
def _answer_form(model: str, version: int, header: bytes) -> _AnswerForm | None:
    try:
        entries = read_entries(header[4:])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    outputs = pb.ModelInferResponse()
    raw, offset = [], len(header)
    for name, datatype, shape, nbytes in entries:
        outputs.outputs.add(name=name, datatype=datatype, shape=shape)
        raw.append((field_head(_RAW_OUTPUTS, nbytes), offset, offset + nbytes))
        offset += nbytes
    before_id = pb.ModelInferResponse(model_name=model, model_version=str(version)).SerializeToString()
    return _AnswerForm(before_id, outputs.SerializeToString(), tuple(raw), offset)
