"""Laws of the V2 codecs: nothing is lost between the wire and the values, and no bytes are worse than INVALID."""

from __future__ import annotations

import json
from collections.abc import Callable

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import example, given

from serving.protocol.binary_codec import decode_binary, encode_response
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.grpc_codec import decode_infer, encode_infer_response
from serving.protocol.json_answer import print_packed
from serving.protocol.json_codec import decode_json, encode_json
from serving.protocol.messages import InferRequest, InferResponse, Limits, RequestedOutput, Tensor
from serving.protocol.packing import pack_tensors, unpack_tensors
from serving.protocol.pb import open_inference_pb2 as pb
from serving.protocol.protobuf_wire import byte_field, cut_field, write_varint
from tests.tensors import TEXTS, tensor_lists, tensors

LIMITS = Limits(max_body_bytes=1 << 20, max_tensors=8, max_rank=6, max_elements=1 << 12)
_NAMES = st.text(st.characters(codec="utf-8"), max_size=6)
CLIENT_ERRORS = {ErrorKind.INVALID, ErrorKind.TOO_LARGE, ErrorKind.UNSUPPORTED}


def plain(found: tuple[Tensor, ...]) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    """Tensors by value: a view and the bytes that it shows are the same data."""
    return [(tensor.name, tensor.datatype, tensor.shape, bytes(tensor.data)) for tensor in found]


def as_request(answer: bytes) -> bytes:
    """Send an answer's outputs on as inputs: a tensor looks the same in both directions."""
    return msgspec.json.encode({"inputs": msgspec.json.decode(answer, type=dict[str, msgspec.Raw])["outputs"]})


@given(tensor_lists(elements=TEXTS, finite=True))
def test_json_carries_every_tensor_of_numbers_and_text(sent: tuple[Tensor, ...]) -> None:
    """decode(encode(x)) = x for every datatype and shape; NaN travels as null."""
    body = as_request(encode_json(InferResponse("m", "1", sent)))

    assert plain(decode_json(body, LIMITS).inputs) == plain(sent)


@given(tensor_lists(elements=TEXTS), _NAMES, _NAMES)
def test_the_short_way_to_json_prints_what_the_long_way_does(sent: tuple[Tensor, ...], model: str, own: str) -> None:
    """Byte for byte, or it declines: BYTES and BF16 have no short way."""
    printed = print_packed(model, 3, memoryview(pack_tensors(sent)), own)

    if any(tensor.datatype in {"BYTES", "BF16"} for tensor in sent):
        assert printed is None
    else:
        assert printed == encode_json(InferResponse(model, "3", sent, own))


@given(tensor_lists(elements=TEXTS), st.integers(0, 60))
def test_the_short_way_declines_what_was_not_packed_well(sent: tuple[Tensor, ...], cut: int) -> None:
    """Its caller then takes the long way, which says what is wrong."""
    packed = pack_tensors(sent)

    assert print_packed("m", 1, packed[: max(0, len(packed) - 1 - cut)]) is None
    assert print_packed("m", 1, packed + b"!") is None


@given(tensors(elements=TEXTS, finite=True))
def test_json_reads_nested_data_as_it_reads_flat(tensor: Tensor) -> None:
    """Nesting agrees with the shape, so it says nothing new."""
    document = json.loads(encode_json(InferResponse("m", "1", (tensor,))))["outputs"][0]
    data = document["data"]
    for size in reversed(tensor.shape[1:]):
        data = [data[start : start + size] for start in range(0, len(data), size)] if size else []
    if not tensor.shape:
        (data,) = data
    if 0 in tensor.shape[1:]:
        data = document["data"]

    nested = json.dumps({"inputs": [{**document, "data": data}]}).encode()

    assert plain(decode_json(nested, LIMITS).inputs) == plain((tensor,))


@given(tensor_lists(elements=TEXTS, finite=True), st.data())
def test_the_binary_extension_carries_every_tensor_whatever_the_mix(
    sent: tuple[Tensor, ...], data: st.DataObject
) -> None:
    """Each tensor goes as JSON or raw; the header's length tells them apart again."""
    wanted = tuple(RequestedOutput(tensor.name, binary=data.draw(st.booleans())) for tensor in sent)
    buffers, length = encode_response(InferResponse("m", "1", sent), InferRequest((), wanted))

    if length is None:
        received = decode_json(as_request(b"".join(buffers)), LIMITS)
    else:
        header = as_request(bytes(buffers[0]))
        received = decode_binary(b"".join([header, *buffers[1:]]), len(header), LIMITS)

    assert plain(received.inputs) == plain(sent)


@given(tensor_lists())
def test_raw_data_survives_grpc_bit_by_bit(sent: tuple[Tensor, ...]) -> None:
    """Infinities, every NaN and bytes that are no text included."""
    answer = pb.ModelInferResponse.FromString(encode_infer_response(InferResponse("m", "1", sent)))
    message = pb.ModelInferRequest(model_name="m", raw_input_contents=answer.raw_output_contents)
    for output in answer.outputs:
        message.inputs.add(name=output.name, datatype=output.datatype, shape=output.shape)

    received = decode_infer(message.SerializeToString(), LIMITS)[2]

    assert plain(received.inputs) == plain(sent)


@given(tensor_lists())
def test_what_a_codec_lets_through_packs_and_unpacks(sent: tuple[Tensor, ...]) -> None:
    """The form of the channel and of the log carries whatever the codecs accept."""
    assert plain(unpack_tensors(pack_tensors(sent))) == plain(sent)


@given(st.lists(st.tuples(st.integers(1, 15), st.binary(max_size=200)), max_size=8), st.integers(1, 15))
def test_cutting_a_field_takes_its_values_and_leaves_the_rest(fields: list[tuple[int, bytes]], number: int) -> None:
    """Protobuf's own parser sees the same message without the field."""
    framed = [b"".join(byte_field(*field)) for field in fields]

    rest, values = cut_field(b"".join(framed), number, max_fields=100)

    assert [bytes(value) for value in values] == [value for found, value in fields if found == number]
    assert rest == b"".join(part for part, (found, _) in zip(framed, fields, strict=True) if found != number)


@given(st.integers(0, (1 << 64) - 1))
def test_varints_are_protobufs_own(value: int) -> None:
    """A uint64 field of one message, by hand and by protobuf."""
    assert b"\x08" + write_varint(value) == (pb.StatisticDuration(count=value).SerializeToString() or b"\x08\x00")


@given(tensor_lists(), st.randoms())
def test_a_large_message_reads_like_a_small_one(sent: tuple[Tensor, ...], random: object) -> None:
    """Slicing raw contents out of the wire and asking protobuf for them give the same request."""
    message = pb.ModelInferRequest(model_name="m", id="7", raw_input_contents=[bytes(t.data) for t in sent])
    for tensor in sent:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    small = message.SerializeToString()
    filler = b"".join(byte_field(1000, bytes(64 * 1024)))  # a field that nobody knows

    (_, _, by_copy), (_, _, by_view) = decode_infer(small, LIMITS), decode_infer(filler + small, LIMITS)

    assert plain(by_copy.inputs) == plain(by_view.inputs)
    assert by_copy.id == by_view.id


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
LIKELY_VALUES = (
    JSON_VALUES
    | st.sampled_from(["FP32", "INT8", "UINT64", "BOOL", "BYTES", "FP16", "BF16", "x"])
    | st.lists(st.integers(-1, 3), max_size=3)
    | st.sampled_from([{"binary_data_size": 4}, {"binary_data": True}, {"classification": 2}, {"binary_data_size": -1}])
)
TENSOR_LIKE = st.dictionaries(
    st.sampled_from(["name", "datatype", "shape", "data", "parameters"]), LIKELY_VALUES, min_size=3
)
DOCUMENTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR_LIKE, max_size=3) | JSON_VALUES},
    optional={
        "outputs": st.lists(TENSOR_LIKE, max_size=2) | JSON_VALUES,
        "id": JSON_VALUES,
        "parameters": LIKELY_VALUES,
    },
).map(lambda document: json.dumps(document).encode())
WIRE = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 7), st.binary(max_size=12))).map(
    lambda fields: b"".join(bytes((number << 3 & 0x7F | kind, len(value))) + value for number, kind, value in fields)
)
#: Where to damage a valid body, as a fraction of it, how many bytes to take out there and what to put in.
DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=3)


def damaged(body: bytes, damage: list[tuple[float, int, bytes]]) -> bytes:
    for fraction, removed, inserted in damage:
        at = int(fraction * len(body))
        body = body[:at] + inserted + body[at + removed :]
    return body


def accepts_or_blames_the_client(decode: Callable[[], InferRequest]) -> None:
    """Decode; whatever is accepted must keep the promise of `Tensor`, whatever is not must be a client's error."""
    try:
        request = decode()
    except ServingError as error:
        assert error.kind in CLIENT_ERRORS  # noqa: PT017 - acceptance is fine too
        return
    assert plain(unpack_tensors(pack_tensors(request.inputs))) == plain(request.inputs)


@given(st.binary(max_size=200) | DOCUMENTS)
@example(b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["\x80"]}]}')
def test_no_bytes_make_the_json_codec_fail(body: bytes) -> None:
    """Only `ServingError`, only kinds that blame the client."""
    accepts_or_blames_the_client(lambda: decode_json(body, LIMITS))


@given(st.binary(max_size=200) | DOCUMENTS, st.integers(-2, 300), st.binary(max_size=16))
def test_no_bytes_make_the_binary_codec_fail(body: bytes, shift: int, tail: bytes) -> None:
    """Whatever the header length claims."""
    accepts_or_blames_the_client(lambda: decode_binary(body + tail, len(body), LIMITS))
    accepts_or_blames_the_client(lambda: decode_binary(body + tail, shift, LIMITS))


@given(st.binary(max_size=200) | WIRE)
@pytest.mark.parametrize("filler", [b"", b"".join(byte_field(1000, bytes(64 * 1024)))])
def test_no_bytes_make_the_grpc_codec_fail(filler: bytes, body: bytes) -> None:
    """On the way of small messages and on that of large ones."""
    accepts_or_blames_the_client(lambda: decode_infer(filler + body, LIMITS)[2])


@given(tensor_lists(elements=TEXTS, finite=True), DAMAGE)
def test_a_damaged_request_is_refused_or_read_but_never_fails(
    sent: tuple[Tensor, ...], damage: list[tuple[float, int, bytes]]
) -> None:
    """Nearly valid bodies reach deeper than random ones, over every codec."""
    answer = InferResponse("m", "1", sent)
    header, *data = encode_response(answer, InferRequest((), binary_output=True))[0]
    request = as_request(bytes(header))
    mixed = b"".join([request, *data])
    message = pb.ModelInferRequest(model_name="m", raw_input_contents=[bytes(tensor.data) for tensor in sent])
    for tensor in sent:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    wire = damaged(message.SerializeToString(), damage)
    filler = b"".join(byte_field(1000, bytes(64 * 1024)))

    accepts_or_blames_the_client(lambda: decode_json(damaged(as_request(encode_json(answer)), damage), LIMITS))
    accepts_or_blames_the_client(lambda: decode_binary(damaged(mixed, damage), len(request), LIMITS))
    accepts_or_blames_the_client(lambda: decode_infer(wire, LIMITS)[2])
    accepts_or_blames_the_client(lambda: decode_infer(filler + wire, LIMITS)[2])
