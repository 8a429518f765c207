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
from router.requestlog.label import Feedback, Mistake
from serving.protocol.errors import ErrorKind, ServingError

MAX_IN_FLIGHT: Final = 16
_MAX_SHOWN: Final = 100


class Taken(NamedTuple):
    """What became of a message of labels."""

    accepted: int
    mistakes: tuple[Mistake, ...]

    @property
    def shown(self) -> tuple[Mistake, ...]:
        """The mistakes that are told, of many the first."""
        return self.mistakes[:_MAX_SHOWN]

    @property
    def error(self) -> str:
        """Why nothing was accepted; empty when something was."""
        if self.accepted:
            return ""
        first = self.mistakes[0]
        return f"no label was accepted; the first says: {first.field}: {first.error}"

    @property
    def document(self) -> dict[str, Any]:
        """The same as the HTTP door says it."""
        document: dict[str, Any] = {"accepted": self.accepted, "rejected": len(self.mistakes)}
        if self.mistakes:
            document["errors"] = [msgspec.to_builtins(mistake) for mistake in self.shown]
        if self.error:
            document["error"] = self.error
        return document


class Labels:
    """The way of labels into the stream."""

    def __init__(self, catalogue: Catalogue, sink: LabelSink, clock: Callable[[], float] = time.time) -> None:
        self._catalogue = catalogue
        self._sink = sink
        self._clock = clock
        self._in_flight = 0

    async def take(self, model: str, version: int | None, read: Callable[[], Feedback]) -> Taken:
        """Take a message of labels about a model's answers.

        Args:
            model: which.
            version: which of it; None for any.
            read: reads the message, once the model is known.

        Raises:
            ServingError: NOT_FOUND for an unknown model or version, INVALID or TOO_LARGE for a message that is none,
                OVERLOADED, UNAVAILABLE while Redis is away.
        """
        self._catalogue.check_known(model, version)
        feedback = read()
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
        return Taken(len(feedback.labels), feedback.mistakes)
