"""How V2 inference looks over HTTP: which paths are one, what a body is, how an answer or an error looks."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

import msgspec

from router.gateway.dispatch.call import Call
from router.gateway.names import NAME
from router.gateway.response import response_of
from router.gateway.statuses import STATUSES, headers_of
from router.policy.decision import Decision
from serving.protocol.binary_codec import decode_binary, encode_response
from serving.protocol.errors import ServingError, invalid
from serving.protocol.json_answer import print_packed
from serving.protocol.json_codec import decode_json
from serving.protocol.messages import Buffer, InferRequest, Limits

HEADER_LENGTH: Final = "inference-header-content-length"
#: "Binary Tensor Data Extension": the media type of a JSON header followed by raw data.
OCTETS: Final = "application/octet-stream"

JSON_LINE: Final = b"content-type: application/json\r\n"
_BINARY_LINES: Final = f"content-type: {OCTETS}\r\n{HEADER_LENGTH}: %d\r\n".encode()
_INFER_PATH: Final = re.compile(rb"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer/?")
#: Longer than any path of an inference, were each of its bytes percent-encoded; what a cache of paths may hold.
_MAX_PATH_BYTES: Final = 1024


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An encoded answer, ready to be framed."""

    status: int
    reason: str
    headers: bytes
    """All but those that the connection adds, in its form: lines for HTTP/1.1, a header block for HTTP/2."""
    body: list[Buffer]
    trailers: bytes = b""
    """What follows the body, in the same form; HTTP/2 only."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum([len(piece) for piece in self.body])


class Wire(Protocol):
    """One form of inference over HTTP: how a body becomes a request and an answer a body."""

    protocol: str
    """Name of the door in metrics and records."""
    framing_bytes: int
    """What a body has beside the message that the limit on bodies is for."""

    def unwrap(self, body: Buffer, headers: dict[str, str]) -> tuple[Buffer, str]:
        """Take the message out of a body, and name the compression that it still has: empty for none.

        Raises:
            ServingError: INVALID or UNSUPPORTED, for a body that holds no message or one that cannot be expanded.
        """

    def decode(self, call: Call, body: Buffer, limits: Limits) -> int | None:
        """Give the call its model, request and deadline from the message; return the pinned version, if any.

        Raises:
            ServingError: INVALID or TOO_LARGE, naming what is wrong.
        """

    def encode(self, call: Call) -> Answer:
        """Encode a settled call; what cannot be encoded becomes the call's error."""


class V2Wire:
    """V2 JSON and binary bodies for the model and version that one path names."""

    protocol = "http"
    framing_bytes = 0

    def __init__(self, model: str, pinned: int | None) -> None:
        self.model = model
        self.pinned = pinned

    def unwrap(self, body: Buffer, headers: dict[str, str]) -> tuple[Buffer, str]:
        """See `Wire`; the whole body is the message."""
        return body, headers.get("content-encoding", "")

    def decode(self, call: Call, body: Buffer, limits: Limits) -> int | None:
        """See `Wire`; the parameter `timeout` (V2: microseconds) can only shorten the deadline."""
        call.model = self.model
        call.request = request = decode_body(body, call.headers, limits)
        call.shorten_deadline(request.parameters)
        return self.pinned

    def encode(self, call: Call) -> Answer:
        """See `Wire`."""
        if call.error is None:
            try:
                return _encode_outputs(call)
            except ServingError as error:
                call.error = error
        return encode_error(call.error, call)


def match_infer(url: bytes) -> V2Wire | None:
    """Read `/v2/models/{m}[/versions/{v}]/infer`; None for any other path, or a name that no model can have."""
    path = url if b"?" not in url else url[: url.index(b"?")]
    return _match_path(path) if len(path) <= _MAX_PATH_BYTES else None


@lru_cache(maxsize=4096)
def _match_path(path: bytes) -> V2Wire | None:
    match = _INFER_PATH.fullmatch(path)
    if match is None:
        return None
    model = unquote_to_bytes(match[1]).decode("utf-8", "replace")
    version = match[2]
    if not NAME.fullmatch(model) or (version is not None and not (version.isdigit() and len(version) < 10)):
        return None
    return V2Wire(model, int(version) if version is not None else None)


def decode_body(body: Buffer, headers: dict[str, str], limits: Limits) -> InferRequest:
    """Decode a V2 body: JSON, or JSON and raw data when the header length is given.

    Raises:
        ServingError: INVALID or TOO_LARGE, naming what is wrong.
    """
    length = headers.get(HEADER_LENGTH)
    if length is None:
        return decode_json(body, limits)
    if not (length.isascii() and length.isdigit() and len(length) < 12):
        raise invalid(f'header {HEADER_LENGTH}: "{length[:32]}" is not a number of bytes')
    return decode_binary(body, int(length), limits)


def encode_error(error: ServingError, call: Call | None = None) -> Answer:
    """Encode an error as `{"error": "…"}` with the call's headers, if there is a call."""
    status = STATUSES[error.kind]
    lines = [JSON_LINE, *[b"%s: %s\r\n" % header for header in headers_of(error.kind)]]
    if call is not None:
        lines.append(decision_lines(call))
    return Answer(status.http, status.reason, b"".join(lines), [msgspec.json.encode({"error": error.message})])


def encode_refusal(status: int, reason: str, message: str) -> Answer:
    """Encode a failure of HTTP itself, which no kind of error stands for."""
    return Answer(status, reason, JSON_LINE, [msgspec.json.encode({"error": message})])


def _encode_outputs(call: Call) -> Answer:
    request, decision = call.request, call.decision
    assert request is not None and decision is not None, "only a decided call has outputs"
    if not request.outputs and not request.binary_output:
        text = print_packed(call.model, decision.version, call.outputs, request.id)
        if text is not None:
            return Answer(200, "OK", JSON_LINE + decision_lines(call), [text])
    body, json_length = encode_response(response_of(call), request)
    head = JSON_LINE if json_length is None else _BINARY_LINES % json_length
    return Answer(200, "OK", head + decision_lines(call), body)


@lru_cache(maxsize=4096)
def _decided_lines(variant: str, version: int, reason: str) -> bytes:
    return f"x-shepherd-version: {version}\r\nx-shepherd-variant: {variant}\r\nx-shepherd-reason: {reason}\r\n".encode()


def decision_lines(call: Call) -> bytes:
    """Say in header lines who answered and why."""
    decision: Decision | None = call.decision
    decided = _decided_lines(decision.variant, decision.version, decision.reason) if decision else b""
    return b"%sx-shepherd-request-id: %s\r\n" % (decided, call.id.encode())


def frame_answer(answer: Answer, *, keep_alive: bool, common: bytes = b"") -> list[Buffer]:
    """Put the status line and headers before the body, in pieces; `common` holds lines that every answer has."""
    start = b"HTTP/1.1 200 OK\r\n" if answer.status == 200 else f"HTTP/1.1 {answer.status} {answer.reason}\r\n".encode()
    ending = b"content-length: %d\r\n\r\n" if keep_alive else b"content-length: %d\r\nconnection: close\r\n\r\n"
    return [start, common, answer.headers, ending % answer.size, *answer.body]
