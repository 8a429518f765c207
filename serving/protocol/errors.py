"""What can go wrong, by kind; codes of HTTP and gRPC belong to the doors, not here. Pure.

Every failure that a client may see is a `ServingError` with an `ErrorKind`. The doors map kinds to status codes in one
table each, so the same failure means the same over both protocols.
"""

from __future__ import annotations

import enum


class ErrorKind(enum.IntEnum):
    """Who is at fault and whether to retry. The numbers travel on the tensor channel: append, never renumber."""

    INVALID = 1
    """The request is wrong and will always be: name the field."""
    NOT_FOUND = 2
    """No such model or version."""
    TOO_LARGE = 3
    """A body, tensor or count over its limit."""
    OVERLOADED = 4
    """No capacity now; retry later."""
    DEADLINE = 5
    """The caller's deadline passed before an answer."""
    CANCELLED = 6
    """The caller went away."""
    UNAVAILABLE = 7
    """The version exists but no replica of it can answer now; retry later."""
    UNSUPPORTED = 8
    """A part of the protocol that is refused or not offered."""
    MODEL_FAILED = 9
    """The model itself raised or answered nonsense."""
    INTERNAL = 10
    """A defect of ours."""
    UNAUTHENTICATED = 11
    """No credentials, or wrong ones."""
    FORBIDDEN = 12
    """Known caller, not allowed."""
    UNFINISHED = 13
    """The request itself did not arrive in time."""


#: Kinds a client may retry without changing anything.
RETRIABLE = frozenset({ErrorKind.OVERLOADED, ErrorKind.UNAVAILABLE})


class ServingError(Exception):
    """A failure with a kind and a message for the client: it names the field and says what to do next.

    Arguments are positional so that the error survives pickling across processes.
    """

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


def invalid(message: str) -> ServingError:
    """Build the error for a request that is wrong whatever the state of the gateway."""
    return ServingError(ErrorKind.INVALID, message)


def not_found(message: str) -> ServingError:
    """Build the error for a model, version or tensor that does not exist."""
    return ServingError(ErrorKind.NOT_FOUND, message)


def too_large(message: str) -> ServingError:
    """Build the error for a body, tensor or count over its limit."""
    return ServingError(ErrorKind.TOO_LARGE, message)
