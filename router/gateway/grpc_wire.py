"""How a unary gRPC inference looks when Envoy has taken the gRPC off it: a bare protobuf message over HTTP/1.1.

Envoy's reverse bridge strips and adds the gRPC frame. The answer is always 200 with the protobuf content type, as the
bridge demands; a failure travels in `x-grpc-status` and `x-grpc-message`, which a filter of ours in Envoy turns into the
real trailers (`router.node.envoy_config`).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from router.gateway.call import Call
from router.gateway.http_wire import Answer, Wire, decision_lines
from router.gateway.statuses import STATUSES
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.grpc_codec import decode_infer, encode_infer_response
from serving.protocol.messages import Buffer, InferResponse, Limits
from serving.protocol.packing import unpack_tensors

INFER_PATH: Final = b"/inference.GRPCInferenceService/ModelInfer"
CONTENT_TYPE: Final = "application/x-protobuf"

#: "Timeout → TimeoutValue TimeoutUnit", gRPC over HTTP2; seconds of one unit.
_UNIT_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MAX_TIMEOUT_DIGITS: Final = 8
_MAX_VERSION_DIGITS: Final = 9


class GrpcWire:
    """`ModelInfer` for whatever model its message names."""

    protocol = "grpc"

    def decode(self, call: Call, body: Buffer, limits: Limits) -> int | None:
        """See `Wire`; the client's deadline arrives as `grpc-timeout` and can only shorten ours."""
        timeout_s = parse_timeout(call.headers.get("grpc-timeout", ""))
        if timeout_s is not None:
            call.deadline = min(call.deadline, call.started + timeout_s)
        call.model, version, call.request = decode_infer(body, limits)
        return parse_version(version)

    def encode(self, call: Call) -> Answer:
        """See `Wire`."""
        if call.error is None:
            request, decision = call.request, call.decision
            assert request is not None and decision is not None, "only a decided call has outputs"
            response = InferResponse(call.model, str(decision.version), unpack_tensors(call.outputs), request.id)
            try:
                return _answer(encode_infer_response(response), decision_lines(call))
            except ServingError as error:
                call.error = error
        status = STATUSES[call.error.kind].grpc
        message = quote(call.error.message, safe=" !\"#$&'()*+,-./:;<=>?@[]^_`{|}~")
        return _answer(
            b"", b"x-grpc-status: %d\r\nx-grpc-message: %s\r\n" % (status, message.encode()) + decision_lines(call)
        )


_WIRE: Final = GrpcWire()


def match_bridged(url: bytes) -> Wire | None:
    """Match the one path that Envoy sends over the bridge."""
    return _WIRE if url == INFER_PATH else None


def parse_timeout(text: str) -> float | None:
    """Read a `grpc-timeout` header in seconds; None when there is none, or none that the specification allows."""
    value, unit = text[:-1], text[-1:]
    if unit not in _UNIT_S or not (value.isascii() and value.isdigit() and len(value) <= _MAX_TIMEOUT_DIGITS):
        return None
    return int(value) * _UNIT_S[unit]


def parse_version(text: str) -> int | None:
    """Read a message's `model_version`; None when it pins none.

    Raises:
        ServingError: NOT_FOUND, since nothing that is not a number can be a version.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_VERSION_DIGITS):
        message = f'model_version: "{text[:64]}" is not a version: versions are numbers'
        raise ServingError(ErrorKind.NOT_FOUND, message)
    return int(text)


def _answer(body: bytes, lines: bytes) -> Answer:
    return Answer(200, "OK", b"content-type: application/x-protobuf\r\n" + lines, [body])
