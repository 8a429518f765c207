"""Keeps a replica that cannot start from being started again at once.

As long as another replica of the version runs, Ray Serve starts a missing one again and again without a pause, and each
attempt is a process. So a start that fails holds its place a while before it says so, longer each time in a row. The
number lies in a small file of the node, since each attempt is a new process; deploying a version forgets it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from serving.deployment.spec import app_name

MAX_PAUSE_S: Final = 60.0


def pause_s(failures: int) -> float:
    """Say how long to wait after a failure that follows so many in a row: not at all, then twice as long each."""
    return min(MAX_PAUSE_S, 2.0 ** min(failures, 32)) if failures else 0.0


class FailedStarts:
    """Counts the failed starts of one version in a row."""

    def __init__(self, run_dir: Path, model: str, version: int) -> None:
        self._path = run_dir / f"{app_name(model, version)}.failed"

    def forget(self) -> None:
        """Begin anew: a start has succeeded, or somebody asks for another attempt."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def pause_s(self) -> float:
        """Count a failure; return how long to wait before it is told."""
        with contextlib.suppress(OSError):
            failures = len(self._path.read_bytes()) if self._path.exists() else 0
            with self._path.open("ab") as file:
                file.write(b".")
            return pause_s(failures)
        return 0.0
