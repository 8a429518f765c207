"""How a unary gRPC inference looks over HTTP/1.1: the framed message as body, the status in trailers.

gRPC is defined over HTTP/2, but all that a unary call needs of it (headers, a body, trailers) HTTP/1.1 has too. Envoy
ends HTTP/2 and translates one into the other (`router.node.envoy_config`); the gRPC in it is read and written here.
"""

from __future__ import annotations

import struct
from typing import Final
from urllib.parse import quote

from router.gateway.call import Call
from router.gateway.http_wire import Answer, Wire, decision_lines
from router.gateway.names import read_version
from router.gateway.response import response_of
from router.gateway.statuses import STATUSES
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.protocol.grpc_codec import decode_infer, encode_infer_response
from serving.protocol.messages import Buffer, Limits

INFER_PATH: Final = b"/inference.GRPCInferenceService/ModelInfer"
#: "Length-Prefixed-Message → Compressed-Flag Message-Length Message", gRPC over HTTP2.
_PREFIX: Final = struct.Struct(">BI")
_CODINGS: Final = ("gzip", "deflate")
_CONTENT_TYPE: Final = b"content-type: application/grpc\r\n"
_OK: Final = b"grpc-status: 0\r\n"
#: What a message shows as it is; the specification allows space to `~` but `%`.
_UNQUOTED: Final = " !\"#$&'()*+,-./:;<=>?@[]^_`{|}~\\"
#: From here on, a view of the message costs less than a copy.
_LARGE_BYTES: Final = 64 * 1024

#: "Timeout → TimeoutValue TimeoutUnit", gRPC over HTTP2; seconds of one unit.
_UNIT_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MAX_TIMEOUT_DIGITS: Final = 8


class GrpcWire:
    """`ModelInfer` for whatever model its message names."""

    protocol = "grpc"

    def unwrap(self, body: bytes, headers: dict[str, str]) -> tuple[Buffer, str]:
        """See `Wire`; a body is one message with its prefix, compressed or not."""
        if len(body) < _PREFIX.size:
            raise invalid("the call has no message" if not body else "the message is cut off in its prefix")
        flag, length = _PREFIX.unpack_from(body)
        found = len(body) - _PREFIX.size
        if flag > 1:
            raise invalid(f"the message has the unknown flag {flag}")
        if found != length:
            raise invalid(f"the message has {found} bytes, its prefix says {length}")
        message = body[_PREFIX.size :] if found < _LARGE_BYTES else memoryview(body)[_PREFIX.size :]
        return message, _coding(headers) if flag else ""

    def decode(self, call: Call, body: Buffer, limits: Limits) -> int | None:
        """See `Wire`; the client's deadline arrives as `grpc-timeout` and can only shorten ours."""
        timeout_s = parse_timeout(call.headers.get("grpc-timeout", ""))
        if timeout_s is not None:
            call.deadline = min(call.deadline, call.started + timeout_s)
        call.model, version, call.request = decode_infer(body, limits)
        call.shorten_deadline(call.request.parameters)
        return read_version(version)

    def encode(self, call: Call) -> Answer:
        """See `Wire`; HTTP's status is always 200."""
        headers = _CONTENT_TYPE + decision_lines(call)
        if call.error is None:
            try:
                message = encode_infer_response(response_of(call))
                return Answer(200, "OK", headers, [_PREFIX.pack(0, len(message)), message], _OK)
            except ServingError as error:
                call.error = error
        return Answer(200, "OK", headers, [], error_trailers(call.error))


_WIRE: Final = GrpcWire()


def match_grpc(url: bytes) -> Wire | None:
    """Match the one path that Envoy sends this way."""
    return _WIRE if url == INFER_PATH else None


def error_trailers(error: ServingError) -> bytes:
    """Write the trailer lines of a failed call."""
    message = quote(shorten(error.message), safe=_UNQUOTED)
    return f"grpc-status: {STATUSES[error.kind].grpc}\r\ngrpc-message: {message}\r\n".encode()


def shorten(message: str) -> str:
    """Cut a status's message so that it is less than 8 KiB when encoded: of more, clients refuse even the status."""
    return message[: 2048 if message.isascii() else 512]


def parse_timeout(text: str) -> float | None:
    """Read a `grpc-timeout` header in seconds; None when there is none, or none that the specification allows."""
    value, unit = text[:-1], text[-1:]
    if unit not in _UNIT_S or not (value.isascii() and value.isdigit() and len(value) <= _MAX_TIMEOUT_DIGITS):
        return None
    return int(value) * _UNIT_S[unit]


def _coding(headers: dict[str, str]) -> str:
    """Name the compression of a message whose flag is set."""
    named = headers.get("grpc-encoding", "identity")
    if named == "identity":
        raise invalid("the message is marked as compressed, and grpc-encoding names no compression")
    if named not in _CODINGS:
        accepted = ", ".join(_CODINGS)
        raise ServingError(ErrorKind.UNSUPPORTED, f'grpc-encoding: "{named[:32]}" is not one of {accepted}')
    return named
