"""Notices that files were replaced, once they have settled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

#: Between two looks. A change counts when two looks in a row see the same: certificate and key are not renewed in one.
LOOK_S: Final = 2.0

_Stamp = tuple[int, int, int] | None


class FileWatch:
    """Looks at some files, links followed, each time that it is asked and some time has passed."""

    def __init__(self, files: Sequence[Path], *, look_s: float = LOOK_S) -> None:
        self._files = files
        self._look_s = look_s
        self._known = self._latest = [_stamp(file) for file in files]
        self._looked_at = time.monotonic()

    def has_changed(self) -> bool:
        """Tell whether the files are others than before; once for each change, and never while one is missing."""
        now = time.monotonic()
        if not self._files or now - self._looked_at < self._look_s:
            return False
        self._looked_at = now
        before, self._latest = self._latest, [_stamp(file) for file in self._files]
        if self._latest != before or self._latest == self._known or None in self._latest:
            return False
        self._known = self._latest
        return True


def _stamp(file: Path) -> _Stamp:
    """Tell a file from another one of its name; None when it cannot be looked at."""
    try:
        seen = file.stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_mtime_ns, seen.st_size
