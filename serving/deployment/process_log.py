"""Where a process of the gateway writes its log: one bounded file per kind of process, in the state directory."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import logging.handlers
import os
from pathlib import Path
from typing import Final

#: A log that has reached this is moved to `<name>.log.1`, in the place of the one that was moved before.
MAX_LOG_BYTES: Final = 16 << 20
_OURS: Final = ("serving", "router")
_FORMAT: Final = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"


def log_to(folder: Path, name: str, level: str, *, most_bytes: int = MAX_LOG_BYTES) -> None:
    """Append what our modules log, from `level` on, to `<name>.log`.

    Processes of one kind share a file: each line is one write to its end. A file that is moved away is begun anew.
    """
    handler = _BoundedHandler(folder / f"{name}.log", most_bytes)
    handler.setFormatter(logging.Formatter(_FORMAT))
    for package in _OURS:
        logger = logging.getLogger(package)
        logger.setLevel(level.upper())
        logger.addHandler(handler)
        logger.propagate = False


def old_log(log: Path) -> Path:
    """Name the file that holds what was in a log before."""
    return log.with_name(f"{log.name}.1")


class _BoundedHandler(logging.handlers.WatchedFileHandler):
    """Moves a file away that is full; whoever else writes to it notices, as of a file that anybody moves."""

    def __init__(self, log: Path, most_bytes: int) -> None:
        super().__init__(log, encoding="utf-8")
        self._log = log
        self._most_bytes = most_bytes

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; a file that cannot be moved goes on growing."""
        super().emit(record)
        if self.stream is None:  # a disk that was full when it was opened
            return
        with contextlib.suppress(OSError):
            descriptor = self.stream.fileno()
            if os.fstat(descriptor).st_size >= self._most_bytes:
                self._move_away(descriptor)

    def _move_away(self, descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # of the processes that find it full, one moves it
        try:
            if os.path.samestat(self._log.stat(), os.fstat(descriptor)):
                self._log.replace(old_log(self._log))
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
