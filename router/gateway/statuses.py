"""The one table from kinds of error to what HTTP and gRPC clients see. Pure.

HTTP codes follow RFC 9110 and Triton's map (NOT_FOUND 404, UNAVAILABLE 503, UNSUPPORTED 501, INVALID 400); gRPC codes
follow the gRPC status guide. 499 is what proxies log for a client that left: nobody receives it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from serving.protocol.errors import RETRIABLE, ErrorKind


class Status(NamedTuple):
    """How one kind of error looks from outside."""

    http: int
    reason: str
    """The HTTP status line's words."""
    grpc: int
    """Number of the gRPC status code."""


STATUSES: Final[dict[ErrorKind, Status]] = {
    ErrorKind.INVALID: Status(400, "Bad Request", 3),
    ErrorKind.NOT_FOUND: Status(404, "Not Found", 5),
    ErrorKind.TOO_LARGE: Status(413, "Content Too Large", 8),
    ErrorKind.OVERLOADED: Status(429, "Too Many Requests", 8),
    ErrorKind.DEADLINE: Status(504, "Gateway Timeout", 4),
    ErrorKind.CANCELLED: Status(499, "Client Closed Request", 1),
    ErrorKind.UNAVAILABLE: Status(503, "Service Unavailable", 14),
    ErrorKind.UNSUPPORTED: Status(501, "Not Implemented", 12),
    ErrorKind.MODEL_FAILED: Status(500, "Internal Server Error", 13),
    ErrorKind.INTERNAL: Status(500, "Internal Server Error", 13),
    ErrorKind.UNAUTHENTICATED: Status(401, "Unauthorized", 16),
    ErrorKind.FORBIDDEN: Status(403, "Forbidden", 7),
    ErrorKind.UNFINISHED: Status(408, "Request Timeout", 4),
}

#: Seconds that a refused client is asked to wait.
RETRY_AFTER_S: Final = 1


#: What an answer with 401 must have (RFC 9110, 11.6.1).
_CHALLENGE: Final = (b"www-authenticate", b'Bearer realm="model-shepherd"')


def headers_of(kind: ErrorKind) -> tuple[tuple[bytes, bytes], ...]:
    """Headers that tell an HTTP client what to do about an error: when to try again, how to say who it is."""
    if kind in RETRIABLE:
        return ((b"retry-after", b"%d" % RETRY_AFTER_S),)
    return (_CHALLENGE,) if kind is ErrorKind.UNAUTHENTICATED else ()
