"""What is fuzzed: every reader of bytes from the network, and valid bytes to begin with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

import msgspec
import numpy as np

from router.gateway.http.compression import compress_answer, content_coding, decompress
from router.gateway.http.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    ConnectionFault,
    FrameReader,
    frame,
    read_settings,
    settings_frame,
)
from router.gateway.http.http2.headers import NO_TABLE, BrokenBlock, read_head
from router.gateway.http.http2.headers import header as http2_header
from router.gateway.http.v1_mlflow_wire import RowsRoutes
from router.gateway.http.wire import Answer
from serving.channel.frames import FrameBuffer, Kind, MalformedFrame, frame_head, pack_extra, unpack_extra
from serving.protocol.arrays import to_tensor
from serving.protocol.binary_codec import decode_binary, encode_response
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.grpc_codec import decode_infer
from serving.protocol.grpc_forms import read_infer
from serving.protocol.json_codec import decode_json
from serving.protocol.messages import InferRequest, InferResponse, Limits, Signature, Tensor, TensorSpec
from serving.protocol.packing import pack_tensors, unpack_tensors
from serving.protocol.pb import open_inference_pb2 as pb
from serving.protocol.protobuf_wire import byte_field
from serving.protocol.rows_codec import parse_invocation, parse_v1, read_tensors

LIMITS: Final = Limits(max_body_bytes=1 << 20, max_tensors=8, max_rank=6, max_elements=1 << 12)
_CLIENT_ERRORS: Final = frozenset({ErrorKind.INVALID, ErrorKind.TOO_LARGE, ErrorKind.UNSUPPORTED})
_SIGNATURE: Final = Signature(
    (TensorSpec("x", "FP32", (-1, 2)), TensorSpec("n", "INT64", (-1,)), TensorSpec("s", "BYTES", (-1,))), ()
)
#: Paths are matched without looking at what answers them.
_DOORS: Final = RowsRoutes(cast("Any", None), cast("Any", None))
#: More than this and the gRPC codec slices views out of the message instead of copying.
_LARGE: Final = b"".join(byte_field(1000, bytes(64 * 1024)))


class Target(NamedTuple):
    """A reader of bytes."""

    read: Callable[[bytes], None]
    """Return, or raise what no client may cause: a finding."""
    seeds: tuple[bytes, ...]
    """Valid, so that what is made of them reaches deep."""


def read_json(data: bytes) -> None:
    _checked(lambda: decode_json(data, LIMITS))


def read_binary(data: bytes) -> None:
    """The first two bytes are the header's length."""
    _checked(lambda: decode_binary(data[2:], int.from_bytes(data[:2], "little"), LIMITS))


def read_grpc(data: bytes) -> None:
    _checked(lambda: decode_infer(data, LIMITS)[2])
    _checked(lambda: decode_infer(_LARGE + data, LIMITS)[2])
    _checked(lambda: read_infer(data, LIMITS)[2])


def read_http2(data: bytes) -> None:
    """What Envoy says, cut in two; header blocks too."""
    reader = FrameReader()
    try:
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            for kind, _, _, payload in reader.feed(part):
                if kind == HEADERS:
                    read_head(bytes(payload))
                elif kind == SETTINGS:
                    read_settings(payload)
    except (ConnectionFault, BrokenBlock):
        pass


def read_rows(data: bytes) -> None:
    for parse in (parse_v1, parse_invocation):
        try:
            tensors = read_tensors(parse(data, LIMITS), _SIGNATURE, LIMITS)
        except ServingError as error:
            _blame(error)
        else:
            _survives_packing(tensors)


def read_path(data: bytes) -> None:
    _DOORS.match(data)


def read_compressed(data: bytes) -> None:
    """The first byte chooses the coding."""
    coding = content_coding(("gzip", "deflate")[data[0] & 1]) if data else "gzip"
    try:
        assert len(decompress(data[1:], coding, 4096)) <= 4096
    except ServingError as error:
        _blame(error)


def read_frames(data: bytes) -> None:
    try:
        for frame in FrameBuffer(max_body_bytes=4096).feed(data):
            unpack_extra(frame.extra)
    except MalformedFrame:
        pass


def read_packed(data: bytes) -> None:
    try:
        unpack_tensors(data)
    except ServingError as error:
        _blame(error)


def _checked(decode: Callable[[], InferRequest]) -> None:
    try:
        request = decode()
    except ServingError as error:
        _blame(error)
    else:
        _survives_packing(request.inputs)


def _survives_packing(tensors: tuple[Tensor, ...]) -> None:
    """What is accepted keeps the promise of `Tensor`."""
    packed = unpack_tensors(pack_tensors(tensors))
    assert _plain(packed) == _plain(tensors)


def _plain(tensors: tuple[Tensor, ...]) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    return [(tensor.name, tensor.datatype, tensor.shape, bytes(tensor.data)) for tensor in tensors]


def _blame(error: ServingError) -> None:
    assert error.kind in _CLIENT_ERRORS, f"{error.kind.name}: {error}"


def _seeds() -> dict[str, tuple[bytes, ...]]:
    """Make valid bytes by the reader's name."""
    x = to_tensor("x", np.array([[1.5, -2.0]], np.float32))
    tensors = (x, to_tensor("n", np.array([7], np.int64)), to_tensor("s", np.array([b"text"], np.object_)))
    half = to_tensor("h", np.array(0.5, np.float16))
    header, *raw = encode_response(InferResponse("m", "1", (*tensors, half)), InferRequest((), binary_output=True))[0]
    document = msgspec.json.decode(header)
    binary = msgspec.json.encode({"inputs": document["outputs"], "outputs": [{"name": "y"}]})
    json = (
        b'{"id":"7","parameters":{"priority":1,"timeout":5.5},"inputs":['
        b'{"name":"x","datatype":"FP32","shape":[1,2],"data":[[1.5,-2e3]]},'
        b'{"name":"s","datatype":"BYTES","shape":[1],"data":["\\u00e4"]}],'
        b'"outputs":[{"name":"y","parameters":{"classification":2,"binary_data":true}}]}'
    )
    message = pb.ModelInferRequest(model_name="m", model_version="1", id="7")
    message.parameters["priority"].int64_param = 1
    typed = pb.ModelInferRequest(model_name="m")
    for tensor in tensors:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_input_contents.append(bytes(tensor.data))
    typed.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1.5, -2.0])
    rows = (
        b'{"instances":[{"x":[1,2],"n":7,"s":"a"},{"x":[3,4],"n":8,"s":{"b64":"YQ=="}}]}',
        b'{"inputs":{"x":[[1,2]],"n":[7],"s":["a"]},"params":{"k":1}}',
        b'{"dataframe_split":{"columns":["x","n","s"],"data":[[[1,2],7,"a"]]}}',
        b'{"dataframe_records":[{"x":[1,2],"n":7,"s":"a"}]}',
    )
    answer = Answer(200, "OK", b"", [json])
    extra = pack_extra(("y",), {"sequence_id": 7})
    channel_frame = frame_head(Kind.INFER, len(extra) + 4, call_id=1, extra_bytes=len(extra)) + extra + b"body"
    head = frame(
        HEADERS, END_HEADERS, 1, NO_TABLE + b"\x83" + http2_header(":path", "/p") + http2_header("te", "trailers")
    )
    huffman = frame(HEADERS, END_HEADERS, 3, bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff"))
    http2 = PREFACE + settings_frame({4: 1 << 20}) + head + frame(DATA, END_STREAM, 1, b"body") + huffman
    paths = (b"/v2/models/m/versions/1/infer?x=1", b"/v1/models/m/labels/stable:predict", b"/invocations")
    return {
        "json": (json,),
        "binary": (len(binary).to_bytes(2, "little") + binary + b"".join(raw),),
        "grpc": (message.SerializeToString(), typed.SerializeToString()),
        "http2": (http2,),
        "rows": rows,
        "path": paths,
        "compressed": tuple(
            bytes((index,)) + bytes(compress_answer(answer, coding).body[0])
            for index, coding in enumerate(("gzip", "deflate"))
        ),
        "frames": (channel_frame * 2, frame_head(Kind.GOAWAY, 0)),
        "packed": (pack_tensors(tensors),),
    }


_READERS: Final[dict[str, Callable[[bytes], None]]] = {
    "json": read_json,
    "binary": read_binary,
    "grpc": read_grpc,
    "http2": read_http2,
    "rows": read_rows,
    "path": read_path,
    "compressed": read_compressed,
    "frames": read_frames,
    "packed": read_packed,
}
TARGETS: Final = {name: Target(_READERS[name], seeds) for name, seeds in _seeds().items()}
