"""What signals mean to a node: SIGINT and SIGTERM end it, SIGHUP has it read renewed files."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(BaseException):
    """An operator or a supervisor asked the process to end."""


@contextmanager
def handling_signals() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into `Interrupted`, and ignore more of them, so that the stop runs to its end.

    Returns:
        An event that SIGHUP sets. One that comes because the terminal is gone ends the node, as it does any program.
    """
    asked, terminal = threading.Event(), _terminal()

    def on_hangup(number: int, frame: object) -> None:
        if terminal is not None and not _is_there(terminal):
            interrupt(number, frame)
        asked.set()

    handlers = {signal.SIGINT: interrupt, signal.SIGTERM: interrupt, signal.SIGHUP: on_hangup}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt(_number: int, _frame: object) -> None:
    """Handle a signal that ends the node."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted


def _terminal() -> int | None:
    """Find the terminal that this process was started from, if any."""
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return descriptor if os.isatty(descriptor) else None


def _is_there(terminal: int) -> bool:
    try:
        os.tcgetpgrp(terminal)
    except OSError:
        return False
    return True
