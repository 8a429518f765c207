"""Takes labels in: straight into the stream, so that 202 means that they are there.

Nothing is queued in the router: a client that is refused still has its labels. Serving does not notice: what one
message may hold is bounded, and so is how many messages are on their way at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from router.gateway.catalogue import Catalogue
from router.ports import LabelSink, StoreUnavailable
from router.requestlog.label import Feedback, read_feedback
from serving.protocol.errors import ErrorKind, ServingError

MAX_IN_FLIGHT: Final = 16
_MAX_SHOWN: Final = 100


class Taken(NamedTuple):
    """What became of a message of labels."""

    accepted: int
    document: dict[str, Any]


class Labels:
    """The way of labels into the stream."""

    def __init__(self, catalogue: Catalogue, sink: LabelSink, clock: Callable[[], float] = time.time) -> None:
        self._catalogue = catalogue
        self._sink = sink
        self._clock = clock
        self._in_flight = 0

    async def take(self, model: str, version: int | None, body: bytes) -> Taken:
        """Take a message of labels about a model's answers.

        Raises:
            ServingError: NOT_FOUND for an unknown model or version, INVALID or TOO_LARGE for a message that is none,
                OVERLOADED, UNAVAILABLE while Redis is away.
        """
        self._catalogue.check_known(model, version)
        feedback = read_feedback(body)
        if feedback.labels:
            if self._in_flight >= MAX_IN_FLIGHT:
                raise ServingError(ErrorKind.OVERLOADED, f"{MAX_IN_FLIGHT} messages of labels are on their way already")
            self._in_flight += 1
            try:
                await self._sink.add(model, feedback.labels, at=self._clock())
            except StoreUnavailable as error:
                raise ServingError(ErrorKind.UNAVAILABLE, str(error)) from error
            finally:
                self._in_flight -= 1
        return Taken(len(feedback.labels), _document(feedback))


def _document(feedback: Feedback) -> dict[str, Any]:
    document: dict[str, Any] = {"accepted": len(feedback.labels), "rejected": len(feedback.mistakes)}
    if feedback.mistakes:
        document["errors"] = [msgspec.to_builtins(mistake) for mistake in feedback.mistakes[:_MAX_SHOWN]]
    if not feedback.labels:
        first = feedback.mistakes[0]
        document["error"] = f"no label was accepted; the first says: {first.field}: {first.error}"
    return document
