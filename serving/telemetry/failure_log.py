"""Lets repeated work go on past failures, and logs each once: when it begins, when it changes, when it is over."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class FailureLog:
    """The failures of one kind of work, whose next turn is the next attempt."""

    def __init__(self, log: logging.Logger, work: str) -> None:
        """Take where to log, and what is done, as the subject of a sentence."""
        self._log = log
        self._work = work
        self.reason = ""
        """Why the last turn failed; empty when it did not."""

    @contextmanager
    def guard(self, expected: type[Exception] = Exception) -> Iterator[None]:
        """Do one turn: a failure that is expected goes no further."""
        try:
            yield
        except expected as error:
            reason = f"{type(error).__name__}: {error}"
            if reason != self.reason:
                # A full disk needs no trace; of all else the trace says where the fault is.
                trace = None if isinstance(error, OSError) else error
                self._log.error("%s failed, and will be tried again: %s", self._work, reason, exc_info=trace)
            self.reason = reason
        else:
            if self.reason:
                self._log.info("%s works again", self._work)
            self.reason = ""
