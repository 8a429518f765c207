"""What a Triton's refusals mean here. Pure.

Found by trying each case on a real server: a model that is away is told as NOT_FOUND, a full queue and an expired
request as UNAVAILABLE, and whatever a model raises as INTERNAL. For our clients a model that Triton does not have is no
mistake of theirs: the version exists and cannot answer now.
"""

from __future__ import annotations

from typing import Final

from serving.protocol.errors import ErrorKind, ServingError, invalid

_KINDS: Final[dict[str, ErrorKind]] = {
    "INVALID_ARGUMENT": ErrorKind.INVALID,
    "NOT_FOUND": ErrorKind.UNAVAILABLE,
    "UNAVAILABLE": ErrorKind.UNAVAILABLE,
    "DEADLINE_EXCEEDED": ErrorKind.DEADLINE,
    "CANCELLED": ErrorKind.CANCELLED,
    "RESOURCE_EXHAUSTED": ErrorKind.OVERLOADED,
    "UNIMPLEMENTED": ErrorKind.UNSUPPORTED,
    "INTERNAL": ErrorKind.MODEL_FAILED,
    "400": ErrorKind.INVALID,
    "404": ErrorKind.UNAVAILABLE,
    "429": ErrorKind.OVERLOADED,
    "499": ErrorKind.DEADLINE,
    "500": ErrorKind.MODEL_FAILED,
    "501": ErrorKind.UNSUPPORTED,
    "503": ErrorKind.UNAVAILABLE,
}
_FULL: Final = "maximum queue size"
_EXPIRED: Final = "timeout expired"
#: How gRPC words that no connection could be made or kept; Triton's own UNAVAILABLE never says so.
_NO_CONNECTION: Final = (
    "failed to connect",
    "connection refused",
    "connection reset",
    "socket closed",
    "goaway",
    "eof",
)


class EndpointLost(ServingError):
    """No answer came, since there is no connection or nobody at its other end: the request may be sent elsewhere."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorKind.UNAVAILABLE, message)

    def __reduce__(self) -> tuple[type[EndpointLost], tuple[str]]:
        """Pickle by the one argument."""
        return type(self), (self.message,)


def translate(status: str | None, message: str) -> ServingError:
    """Turn a client library's status (`StatusCode.NOT_FOUND`, or an HTTP status) and message into our error."""
    if not status:  # the client library itself refuses, and sends nothing
        return invalid(f"Triton's client: {' '.join(message.split())}")
    name = status.removeprefix("StatusCode.")
    text = " ".join(message.split()) or "no reason was given"
    kind = _KINDS.get(name, ErrorKind.MODEL_FAILED)
    if kind is ErrorKind.UNAVAILABLE:
        lower = text.lower()
        if _FULL in lower:
            return ServingError(ErrorKind.OVERLOADED, f"Triton has no capacity now: {text}")
        if _EXPIRED in lower:
            return ServingError(ErrorKind.DEADLINE, f"the request expired in Triton's queue: {text}")
        if any(words in lower for words in _NO_CONNECTION):
            return EndpointLost(f"Triton cannot be reached: {text}")
    return ServingError(kind, f"Triton: {text}")
