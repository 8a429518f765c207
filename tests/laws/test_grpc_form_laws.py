"""Laws of the short way through gRPC messages: it says what the long way says, or nothing."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import tritonclient.grpc
from hypothesis import example, given
from tritonclient.grpc._utils import _get_inference_request

from serving.protocol.errors import ServingError
from serving.protocol.grpc_codec import decode_infer, encode_infer_response
from serving.protocol.grpc_forms import print_known, read_infer
from serving.protocol.messages import Buffer, InferResponse, Limits, Tensor
from serving.protocol.packing import pack_tensors
from serving.protocol.pb import open_inference_pb2 as pb
from serving.protocol.protobuf_wire import byte_field
from tests.tensors import tensor_lists

LIMITS = Limits(max_body_bytes=1 << 20, max_tensors=8, max_rank=6, max_elements=1 << 12)
_TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
#: Changes of a valid message: where, as a fraction of it, how many bytes to take out, and what to put in.
_DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=4)), max_size=3)


def outcome(read: Any, body: Buffer) -> tuple[Any, ...]:
    """What reading comes to, by value: an error's kind and words, or the request with views as bytes."""
    try:
        model, version, request = read(body, LIMITS)
    except ServingError as error:
        return error.kind, error.message
    inputs = [(tensor.name, tensor.datatype, tensor.shape, bytes(tensor.data)) for tensor in request.inputs]
    return model, version, inputs, request.outputs, request.id, request.parameters, request.binary_output


def message_of(sent: tuple[Tensor, ...], *, wanted: list[str], named: tuple[str, str, str]) -> pb.ModelInferRequest:
    model, version, request_id = named
    message = pb.ModelInferRequest(model_name=model, model_version=version, id=request_id)
    for tensor in sent:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_input_contents.append(bytes(tensor.data))
    for name in wanted:
        message.outputs.add(name=name)
    return message


@given(tensor_lists(), st.lists(_TEXTS, max_size=2), st.tuples(_TEXTS, _TEXTS, _TEXTS), st.booleans(), _DAMAGE)
def test_the_short_way_reads_what_the_long_way_reads(
    sent: tuple[Tensor, ...],
    wanted: list[str],
    named: tuple[str, str, str],
    has_parameter: bool,
    damage: list[tuple[float, int, bytes]],
) -> None:
    """The same request or the same error, valid or damaged, as bytes or as a view, the first time and the second."""
    message = message_of(sent, wanted=wanted, named=named)
    if has_parameter:
        message.parameters["timeout"].int64_param = 7
    body = message.SerializeToString()
    for fraction, removed, inserted in damage:
        at = int(fraction * len(body))
        body = body[:at] + inserted + body[at + removed :]

    expected = outcome(decode_infer, body)

    assert outcome(read_infer, body) == expected
    assert outcome(read_infer, memoryview(body)) == expected
    assert outcome(read_infer, body) == expected


_HEAD = pb.ModelInferRequest(model_name="m")
_HEAD.inputs.add(name="x", datatype="UINT8", shape=[2])
_PLAIN = _HEAD.SerializeToString()
_DATA = b"".join(byte_field(7, b"ab"))


@given(
    st.permutations([_PLAIN, _DATA, b"".join(byte_field(3, b"7")), b"".join(byte_field(1, b"n"))]), st.integers(1, 4)
)
@example([_PLAIN, _DATA, b"".join(byte_field(1, b"n")), b""], 4)
@example([_PLAIN, b"".join(byte_field(3, b"7")), b"".join(byte_field(3, b"8")), _DATA], 4)
@example([_PLAIN, b"".join(byte_field(3, b"\xff")), _DATA, b""], 4)
@example([_PLAIN, b"".join(byte_field(9, b"?")), _DATA, b""], 4)
@example([_PLAIN, b"\x3a\x82\x00ab", b"", b""], 4)  # a length that is longer than it need be
@example([_PLAIN, _DATA, _DATA, b""], 4)
def test_fields_may_come_in_any_order(parts: list[bytes], count: int) -> None:
    """Messages concatenate, and the last of two values counts: both ways know it. The usual order is known already."""
    read_infer(_PLAIN + _DATA, LIMITS)
    body = b"".join(parts[:count])

    assert outcome(read_infer, body) == outcome(decode_infer, body)


@given(st.integers(0, 300), st.text("ab\u00e4", max_size=200), st.integers(1, 40))
def test_long_names_many_tensors_and_long_ids_are_no_exception(length: int, request_id: str, count: int) -> None:
    """Beyond what a form covers, and beyond the limit on tensors, the long way speaks."""
    tensors = tuple(Tensor(f"{'n' * length}{index}", "INT8", (1,), b"x") for index in range(count))
    body = message_of(tensors, wanted=[], named=("m", "", request_id)).SerializeToString()

    assert outcome(read_infer, body) == outcome(decode_infer, body)


@given(tensor_lists(), _TEXTS, st.integers(1, 99), _TEXTS, st.integers(0, 40))
def test_the_short_way_writes_what_the_long_way_writes(
    sent: tuple[Tensor, ...], model: str, version: int, request_id: str, cut: int
) -> None:
    """Byte for byte; bytes that are not packed tensors are declined."""
    packed = pack_tensors(sent)

    assert print_known(model, version, memoryview(packed), request_id) == encode_infer_response(
        InferResponse(model, str(version), sent, request_id)
    )
    assert print_known(model, version, packed[: max(0, len(packed) - 1 - cut)], request_id) is None
    assert print_known(model, version, packed + b"!", request_id) is None


def test_what_tritonclient_sends_again_takes_the_short_way() -> None:
    """Only the data and the id differ between its requests, and both arrive."""
    for number in range(3):
        given_input = tritonclient.grpc.InferInput("x", [1, 4], "FP32")
        array = np.full((1, 4), number, np.float32)
        given_input.set_data_from_numpy(array)
        asked: Any = _get_inference_request(
            model_name="m",
            inputs=[given_input],
            model_version="2",
            request_id=f"id-{number}",
            outputs=[tritonclient.grpc.InferRequestedOutput("y")],
            sequence_id=0,
            sequence_start=False,
            sequence_end=False,
            priority=0,
            timeout=None,
            parameters=None,
        )

        model, version, request = read_infer(asked.SerializeToString(), LIMITS)

        assert (model, version, request.id) == ("m", "2", f"id-{number}")
        assert bytes(request.inputs[0].data) == array.tobytes()
        assert [output.name for output in request.outputs] == ["y"]
