"""V2 inference over gRPC: protobuf bytes to `InferRequest`, `InferResponse` to protobuf bytes. Pure.

Answers carry their data in `raw_output_contents`, as Triton's do. Copies of tensor data, a large request's none: views
of the received message; a small one's two: protobuf's own and the one out of it, cheaper there than finding the views;
an answer's one: into the message to send.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError

from serving.protocol.checks import (
    check_body_size,
    check_datatype,
    check_names,
    check_parameters,
    check_raw_data,
    class_count,
    element_count,
    located,
    refuse_shared_memory,
    show,
)
from serving.protocol.datatypes import DATATYPES
from serving.protocol.elements import join_elements
from serving.protocol.errors import ServingError, invalid
from serving.protocol.messages import Buffer, InferRequest, InferResponse, Limits, Parameter, RequestedOutput, Tensor
from serving.protocol.pb import open_inference_pb2 as pb
from serving.protocol.protobuf_wire import byte_field, cut_field

_CONTENTS: Final[dict[str, str]] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_RAW_INPUTS: Final = pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_RAW_OUTPUTS: Final = pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
_STREAMED_RESPONSE: Final = pb.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER
#: From here on, walking the top-level fields in Python costs less than the copies that it saves.
LARGE_BYTES: Final = 64 * 1024


def decode_infer(body: Buffer, limits: Limits) -> tuple[str, str, InferRequest]:
    """Decode a `ModelInferRequest` into the model's name, its version as given ("" for none) and the request.

    Raises:
        ServingError: INVALID, TOO_LARGE or UNSUPPORTED, naming the field.
    """
    check_body_size(len(body), limits)
    message, raw = _parse(body, limits)
    check_names("inputs", [tensor.name for tensor in message.inputs], limits)
    if raw and len(raw) != len(message.inputs):
        raise invalid(f"raw_input_contents has {len(raw)} entries for {len(message.inputs)} inputs")
    inputs = []
    for index, tensor in enumerate(message.inputs):
        try:
            inputs.append(_read_input(tensor, raw[index] if raw else None, limits))
        except ServingError as error:
            raise located(error, f'inputs[{index}] "{tensor.name}"') from None
    parameters = _read_parameters(message.parameters) if message.parameters else {}
    if parameters:
        check_parameters(parameters)
    outputs = requested_outputs(message, limits) if message.outputs else ()
    request = InferRequest(tuple(inputs), outputs, message.id, parameters)
    return message.model_name, message.model_version, request


def encode_infer_response(response: InferResponse) -> bytes:
    """Encode an answer as a `ModelInferResponse`.

    The raw contents have the highest field number, so appending them gives the very bytes that protobuf would.
    """
    message = pb.ModelInferResponse(model_name=response.model, model_version=response.version, id=response.id)
    parts: list[Buffer] = [b""]
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        parts += byte_field(_RAW_OUTPUTS, tensor.data)
    for name, value in response.parameters.items():
        _write_parameter(message.parameters[name], value)
    parts[0] = message.SerializeToString()
    return b"".join(parts)


def encode_stream_response(response: InferResponse) -> bytes:
    """Encode an answer as a `ModelStreamInferResponse`."""
    return b"".join(byte_field(_STREAMED_RESPONSE, encode_infer_response(response)))


def encode_stream_error(message: str, request_id: str) -> bytes:
    """Encode a failure as a `ModelStreamInferResponse`; the id tells the client which of its requests failed."""
    failed = pb.ModelStreamInferResponse(error_message=message)
    failed.infer_response.id = request_id
    return failed.SerializeToString()


def _parse(body: Buffer, limits: Limits) -> tuple[pb.ModelInferRequest, list[Buffer]]:
    """Parse the message and find its raw contents: sliced from a large body, copied out of a small message."""
    raw: list[Buffer] = []
    if len(body) >= LARGE_BYTES:
        body, views = cut_field(body, _RAW_INPUTS, max_fields=4 * limits.max_tensors)
        raw.extend(views)
    try:
        message = pb.ModelInferRequest.FromString(bytes(body))
    except DecodeError:
        raise invalid("the message is not a ModelInferRequest") from None
    return message, raw or list(message.raw_input_contents)


def _read_input(tensor: pb.ModelInferRequest.InferInputTensor, raw: Buffer | None, limits: Limits) -> Tensor:
    if tensor.parameters:
        refuse_shared_memory(_read_parameters(tensor.parameters))
    datatype, shape = tensor.datatype, tuple(tensor.shape)
    if raw is None:
        check_datatype(datatype)
        data: Buffer = _read_contents(tensor.contents, datatype, shape, limits)
    else:
        if tensor.contents.ListFields():
            raise invalid("has both contents and raw_input_contents")
        data = raw
        check_raw_data(datatype, shape, data, limits)
    return Tensor(tensor.name, datatype, shape, data)


def _read_contents(contents: pb.InferTensorContents, datatype: str, shape: tuple[int, ...], limits: Limits) -> bytes:
    """Turn typed contents into raw bytes; the narrow integers, which share wider fields, are held to their range."""
    count = element_count(shape, limits)
    field = _CONTENTS.get(datatype)
    if field is None:
        raise invalid(f"{datatype} data must come in raw_input_contents")
    for descriptor, _ in contents.ListFields():
        if descriptor.name != field:
            raise invalid(f"{datatype} data belongs in contents.{field}, not in contents.{descriptor.name}")
    values = getattr(contents, field)
    if len(values) != count:
        raise invalid(f"shape {show(shape)} needs {count} elements, contents.{field} has {len(values)}")
    if datatype == "BYTES":
        return join_elements(values)
    try:
        return struct.pack(f"<{count}{DATATYPES[datatype].typecode}", *values)
    except struct.error:
        raise invalid(f"contents.{field} has an element out of range for {datatype}") from None


def requested_outputs(message: pb.ModelInferRequest, limits: Limits) -> tuple[RequestedOutput, ...]:
    """Read what a request asks for.

    Raises:
        ServingError: INVALID, TOO_LARGE or UNSUPPORTED, naming the output.
    """
    check_names("outputs", [output.name for output in message.outputs], limits)
    requested = []
    for index, output in enumerate(message.outputs):
        try:
            parameters = _read_parameters(output.parameters)
            refuse_shared_memory(parameters)
            requested.append(RequestedOutput(output.name, class_count=class_count(parameters.get("classification", 0))))
        except ServingError as error:
            raise located(error, f'outputs[{index}] "{output.name}"') from None
    return tuple(requested)


def _read_parameters(entries: Mapping[str, pb.InferParameter]) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for name, entry in entries.items():
        choice = entry.WhichOneof("parameter_choice")
        if choice is None:
            raise invalid(f'parameters: "{name}" has no value')
        value: Any = getattr(entry, choice)
        parameters[name] = value
    return parameters


def _write_parameter(entry: pb.InferParameter, value: Parameter) -> None:
    if isinstance(value, bool):  # before int: a bool is one
        entry.bool_param = value
    elif isinstance(value, str):
        entry.string_param = value
    elif isinstance(value, float):
        entry.double_param = value
    elif value < 1 << 63:
        entry.int64_param = value
    else:
        entry.uint64_param = value
