"""How a unary gRPC inference looks over HTTP/2: a framed message as body, the status in trailers.

The HTTP/2 itself is `router.gateway.http.http2`'s. Source: "gRPC over HTTP2", the protocol's specification.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from router.gateway.dispatch.call import Call
from router.gateway.http.http2.headers import header, status
from router.gateway.http.wire import Answer, Wire
from router.gateway.names import read_version
from router.gateway.response import response_of, wants_classes
from router.gateway.statuses import STATUSES
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.protocol.grpc_codec import LARGE_BYTES, encode_infer_response
from serving.protocol.grpc_forms import print_known, read_infer
from serving.protocol.messages import Buffer, Limits

INFER_PATH: Final = b"/inference.GRPCInferenceService/ModelInfer"
#: "Length-Prefixed-Message → Compressed-Flag Message-Length Message", gRPC over HTTP2.
_PREFIX: Final = struct.Struct(">BI")
_CODINGS: Final = ("gzip", "deflate")
_HEAD: Final = status(200) + header("content-type", "application/grpc")
_OK: Final = header("grpc-status", "0")
#: What a message shows as it is; the specification allows space to `~` but `%`.
_UNQUOTED: Final = " !\"#$&'()*+,-./:;<=>?@[]^_`{|}~\\"

#: "Timeout → TimeoutValue TimeoutUnit", gRPC over HTTP2; seconds of one unit.
_UNIT_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MAX_TIMEOUT_DIGITS: Final = 8


class GrpcWire:
    """`ModelInfer` for whatever model its message names."""

    protocol = "grpc"
    framing_bytes = _PREFIX.size

    def unwrap(self, body: Buffer, headers: dict[str, str]) -> tuple[Buffer, str]:
        """See `Wire`; a body is one message with its prefix, compressed or not."""
        if len(body) < _PREFIX.size:
            raise invalid("the call has no message" if not body else "the message is cut off in its prefix")
        flag, length = _PREFIX.unpack_from(body)
        found = len(body) - _PREFIX.size
        if flag > 1:
            raise invalid(f"the message has the unknown flag {flag}")
        if found != length:
            raise invalid(f"the message has {found} bytes, its prefix says {length}")
        message = body[_PREFIX.size :] if found < LARGE_BYTES else memoryview(body)[_PREFIX.size :]
        return message, _coding(headers) if flag else ""

    def decode(self, call: Call, body: Buffer, limits: Limits) -> int | None:
        """See `Wire`; the client's deadline arrives as `grpc-timeout` and can only shorten ours."""
        timeout_s = parse_timeout(call.headers.get("grpc-timeout", ""))
        if timeout_s is not None:
            call.deadline = min(call.deadline, call.started + timeout_s)
        call.model, version, call.request = read_infer(body, limits)
        call.shorten_deadline(call.request.parameters)
        return read_version(version)

    def encode(self, call: Call) -> Answer:
        """See `Wire`; HTTP's status is always 200."""
        if call.error is None:
            try:
                message = encode_outputs(call)
                return Answer(200, "OK", decision_block(call), [_PREFIX.pack(0, len(message)), message], _OK)
            except ServingError as error:
                call.error = error
        return Answer(200, "OK", decision_block(call), [], error_trailers(call.error))


_WIRE: Final = GrpcWire()


def match_grpc(url: bytes) -> Wire | None:
    """Match the one path that Envoy sends this way."""
    return _WIRE if url == INFER_PATH else None


def encode_outputs(call: Call) -> bytes:
    """Encode a settled call's outputs as a `ModelInferResponse`.

    Raises:
        ServingError: INVALID when an output cannot be had in the form asked for.
    """
    request, decision = call.request, call.decision
    assert request is not None and decision is not None, "only a decided call has outputs"
    message = None
    if not wants_classes(request):
        message = print_known(call.model, decision.version, call.outputs, request.id)
    return encode_infer_response(response_of(call)) if message is None else message


def decision_block(call: Call) -> bytes:
    """Write an answer's headers: who answered and why, as HTTP's say it."""
    decision = call.decision
    decided = _decided(decision.variant, decision.version, decision.reason) if decision else _HEAD
    return decided + header("x-shepherd-request-id", call.id)


@lru_cache(maxsize=4096)
def _decided(variant: str, version: int, reason: str) -> bytes:
    said = {"version": str(version), "variant": variant, "reason": reason}
    return _HEAD + b"".join([header(f"x-shepherd-{name}", value) for name, value in said.items()])


def error_trailers(error: ServingError) -> bytes:
    """Write the trailers of a failed call."""
    message = quote(shorten(error.message), safe=_UNQUOTED)
    return header("grpc-status", str(STATUSES[error.kind].grpc)) + header("grpc-message", message)


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
