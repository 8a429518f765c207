"""Keeps the terminal for the few lines that an operator wants; all else that is printed goes to a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console


class Terminal:
    """The output and error streams that this process was started with."""

    def __init__(self) -> None:
        self._descriptors = (os.dup(1), os.dup(2))
        output, errors = (os.fdopen(os.dup(descriptor), "w", buffering=1) for descriptor in self._descriptors)
        self.output = Console(file=output, highlight=False, soft_wrap=True)
        self.errors = Console(file=errors, highlight=False, soft_wrap=True)

    def warn(self, trouble: str) -> None:
        """Say what is wrong but does not end anything."""
        self.errors.print("warning:", style="yellow", end=" ")
        self.errors.print(trouble, markup=False)

    def report(self, failure: str) -> None:
        """Say what went wrong."""
        self.errors.print("error:", style="bold red", end=" ")
        self.errors.print(failure, markup=False)

    @contextmanager
    def reserved(self, log: Path) -> Iterator[None]:
        """Send to `log` whatever else is printed: by Ray's threads, by native code, by child processes."""
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            for stream in (1, 2):
                os.dup2(descriptor, stream)
            yield
        finally:
            for stream, original in zip((1, 2), self._descriptors, strict=True):
                os.dup2(original, stream)
            os.close(descriptor)
