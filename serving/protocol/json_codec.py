"""V2 inference over JSON: request bytes to `InferRequest`, `InferResponse` to bytes. Pure.

Source: Open Inference Protocol v2, "Inference"; `parameters` as Triton reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from serving.protocol.checks import (
    check_body_size,
    check_datatype,
    check_names,
    check_parameters,
    class_count,
    located,
    refuse_shared_memory,
)
from serving.protocol.errors import ServingError, invalid
from serving.protocol.json_data import parse_data, print_data
from serving.protocol.json_schema import (
    InputMember,
    OutputMember,
    Parameters,
    RequestDocument,
    ResponseDocument,
    TensorMember,
    parse_request,
    print_response,
)
from serving.protocol.messages import Buffer, InferRequest, InferResponse, Limits, Parameter, RequestedOutput, Tensor

ReadInput = Callable[[InputMember, Limits], Tensor]


def decode_json(body: Buffer, limits: Limits) -> InferRequest:
    """Decode a body that is JSON throughout.

    Raises:
        ServingError: INVALID, TOO_LARGE or UNSUPPORTED, naming the field.
    """
    check_body_size(len(body), limits)
    return assemble(parse_request(body), limits, read_json_input)


def encode_json(response: InferResponse) -> bytes:
    """Encode an answer with every output in the JSON.

    Raises:
        ServingError: INVALID where a BYTES output is not UTF-8 and must be asked for as binary data.
    """
    return print_response(describe(response, [print_tensor(tensor) for tensor in response.outputs]))


def assemble(document: RequestDocument, limits: Limits, read_input: ReadInput) -> InferRequest:
    """Build the request from its parsed JSON, reading each input where `read_input` finds its data."""
    check_names("inputs", [member.name for member in document.inputs], limits)
    inputs = []
    for index, member in enumerate(document.inputs):
        try:
            inputs.append(read_input(member, limits))
        except ServingError as error:
            raise located(error, f'inputs[{index}] "{member.name}"') from None
    parameters = document.parameters or {}
    binary_output = False
    if parameters:
        check_parameters(parameters)
        binary_output = _flag(parameters, "binary_data_output", default=False)
        parameters.pop("binary_data_output", None)
    return InferRequest(
        tuple(inputs),
        _requested(document.outputs, limits, binary_output=binary_output) if document.outputs else (),
        document.id or "",
        parameters,
        binary_output,
    )


def read_json_input(member: InputMember, limits: Limits) -> Tensor:
    """Read an input whose data is in the JSON."""
    if member.parameters:
        refuse_shared_memory(member.parameters)
        if "binary_data_size" in member.parameters:
            raise invalid("binary_data_size needs the header Inference-Header-Content-Length")
    text = member.data
    if not text:
        check_datatype(member.datatype)
        raise invalid("data is missing")
    return Tensor(member.name, member.datatype, member.shape, parse_data(text, member.datatype, member.shape, limits))


def print_tensor(tensor: Tensor) -> TensorMember:
    """Describe an output with its data in the JSON."""
    try:
        data = print_data(tensor.datatype, tensor.data)
    except ServingError as error:
        raise located(error, f'outputs "{tensor.name}"') from None
    return TensorMember(tensor.name, tensor.datatype, tensor.shape, data=data)


def describe(response: InferResponse, outputs: list[TensorMember]) -> ResponseDocument:
    """Head an answer's outputs with what else it says."""
    return ResponseDocument(response.model, response.version, outputs, response.id, response.parameters)


def _requested(members: Sequence[OutputMember], limits: Limits, *, binary_output: bool) -> tuple[RequestedOutput, ...]:
    check_names("outputs", [member.name for member in members], limits)
    requested = []
    for index, member in enumerate(members):
        try:
            requested.append(_request_output(member.name, member.parameters, binary_output=binary_output))
        except ServingError as error:
            raise located(error, f'outputs[{index}] "{member.name}"') from None
    return tuple(requested)


def _request_output(name: str, parameters: Parameters, *, binary_output: bool) -> RequestedOutput:
    if not parameters:
        return RequestedOutput(name, binary_output)
    refuse_shared_memory(parameters)
    return RequestedOutput(
        name, _flag(parameters, "binary_data", default=binary_output), class_count(parameters.get("classification", 0))
    )


def _flag(parameters: dict[str, Parameter], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise invalid(f"parameters.{name} must be true or false")
    return value
