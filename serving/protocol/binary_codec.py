"""V2 inference with tensors as raw bytes after the JSON: "Binary Tensor Data Extension". Pure.

A message is a JSON header, whose length the HTTP header `Inference-Header-Content-Length` gives, then the data of every
tensor that has `binary_data_size`, in order and without gaps. Inputs become views of the body and outputs leave as they
came from the model: nothing is copied either way.
"""

from __future__ import annotations

from typing import Final

from serving.protocol.checks import check_body_size, check_raw_data, refuse_shared_memory
from serving.protocol.errors import invalid
from serving.protocol.json_codec import (
    assemble,
    describe,
    encode_json,
    print_tensor,
    read_json_input,
)
from serving.protocol.json_schema import InputMember, TensorMember, parse_request, print_response
from serving.protocol.messages import Buffer, InferRequest, InferResponse, Limits, Tensor

HEADER_LENGTH: Final = "Inference-Header-Content-Length"


def decode_binary(body: Buffer, header_length: int, limits: Limits) -> InferRequest:
    """Decode a body of `header_length` bytes of JSON and raw tensor data behind it.

    Raises:
        ServingError: INVALID, TOO_LARGE or UNSUPPORTED, naming the field.
    """
    check_body_size(len(body), limits)
    if not 0 <= header_length <= len(body):
        raise invalid(f"{HEADER_LENGTH} is {header_length}, the body has {len(body)} bytes")
    view = memoryview(body)
    tail = _Tail(view[header_length:])
    request = assemble(parse_request(view[:header_length]), limits, tail.read_input)
    tail.check_used_up()
    return request


def encode_response(response: InferResponse, request: InferRequest) -> tuple[list[Buffer], int | None]:
    """Encode an answer as its request asked, output by output.

    Returns:
        The buffers to send, and the length of the JSON header or None when the answer is JSON throughout.
    """
    if not request.binary_output and not any(output.binary for output in request.outputs):
        return [encode_json(response)], None
    wanted = {output.name: output.binary for output in request.outputs}
    members: list[TensorMember] = []
    data: list[Buffer] = []
    for tensor in response.outputs:
        if wanted.get(tensor.name, request.binary_output):
            size: dict[str, bool | int | float | str] = {"binary_data_size": len(tensor.data)}
            members.append(TensorMember(tensor.name, tensor.datatype, tensor.shape, parameters=size))
            data.append(tensor.data)
        else:
            members.append(print_tensor(tensor))
    header = print_response(describe(response, members))
    if not any("binary_data_size" in (member.parameters or {}) for member in members):
        return [header], None
    return [header, *data], len(header)


class _Tail:
    """The bytes after the JSON header and how many of them the inputs have taken."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._taken = 0

    def read_input(self, member: InputMember, limits: Limits) -> Tensor:
        """Read an input from the tail when it says so, else from the JSON."""
        parameters = member.parameters
        if parameters is None or "binary_data_size" not in parameters:
            return read_json_input(member, limits)
        refuse_shared_memory(parameters)
        if member.data:
            raise invalid("has both data and binary_data_size")
        data = self._take(parameters["binary_data_size"])
        check_raw_data(member.datatype, member.shape, data, limits)
        return Tensor(member.name, member.datatype, member.shape, data)

    def _take(self, size: object) -> memoryview:
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise invalid("parameters.binary_data_size must be a whole number of bytes")
        left = len(self._view) - self._taken
        if size > left:
            raise invalid(f"binary_data_size is {size}, {left} bytes are left in the body")
        start = self._taken
        self._taken += size
        return self._view[start : self._taken]

    def check_used_up(self) -> None:
        """Refuse bytes that no input asked for: header and body disagree."""
        left = len(self._view) - self._taken
        if left:
            raise invalid(f"{left} bytes of the body belong to no input")
