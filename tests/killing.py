"""Kills children of the test's process while they load a model, as the kernel does when memory runs out."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL_S = 0.005


@contextmanager
def killing_children(module: str) -> Iterator[list[int]]:
    """End each child that runs a module, by SIGKILL and as soon as it is there; give the list of those that were."""
    killed: list[int] = []
    is_over = threading.Event()

    def hunt() -> None:
        while not is_over.wait(_POLL_S):
            for pid in _children_of(module):
                if pid not in killed:
                    os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
                    killed.append(pid)

    hunter = threading.Thread(target=hunt, name=f"killing-{module}")
    hunter.start()
    try:
        yield killed
    finally:
        is_over.set()
        hunter.join()


def _children_of(module: str) -> Iterator[int]:
    own = str(os.getpid())
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == own and module.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                yield int(folder.name)
