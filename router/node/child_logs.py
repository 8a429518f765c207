"""Bounds the logs that programs print into through a descriptor that they keep: our children, and native code of ours.

Such a file cannot be moved away, since its writers would go on in it. So its end is copied aside, and it is emptied:
they all append, and go on at its beginning. What is printed between the two is lost.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Final

from serving.deployment.process_log import MAX_LOG_BYTES, old_log

_NAMES: Final = ("node.log", "reaper.log", "envoy.log", "valkey.log")
_PERIOD_S: Final = 10.0


class ChildLogs:
    """The logs of `shepherd up` and of the programs that it starts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._due_at = 0.0

    def tend(self) -> None:
        """Keep them short, now and then.

        Raises:
            OSError: one of them could not be copied, and stays as it is.
        """
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + _PERIOD_S
        for name in _NAMES:
            keep_short(self._folder / name)


def keep_short(log: Path, *, most_bytes: int = MAX_LOG_BYTES) -> None:
    """Copy the end of a log that is over its bound aside, in the place of what was copied before, and empty it."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        if size <= most_bytes:
            return
        source.seek(size - most_bytes)
        with old_log(log).open("wb") as old:
            shutil.copymode(log, old_log(log))
            shutil.copyfileobj(source, old)
        os.truncate(log, 0)
