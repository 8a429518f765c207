"""Starts that take the processor only while nobody else on this machine wants it, so that serving goes on beside them.

A process that starts imports and loads for a second or two, and the scheduler lets it finish a slice of some
milliseconds before an event loop that wakes up goes on. A `SCHED_IDLE` thread is preempted at once. On full cores it
gets next to nothing, so it must be raised again before long, which takes a privilege (sched(7)): CAP_SYS_NICE, which
root has outside containers, or RLIMIT_NICE of 20. Without it nothing is lowered.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: On full cores a start takes this much longer.
LIMIT_S: Final = 2.0


@contextmanager
def idle_start(limit_s: float = LIMIT_S) -> Iterator[None]:
    """Have this thread, and those that it starts, yield to all other processes; for so many seconds at most."""
    if not _may_be_raised():
        yield
        return
    is_over = threading.Event()
    watchdog = threading.Thread(target=_raise_after, args=(is_over, limit_s), name="idle-start", daemon=True)
    watchdog.start()  # before this thread is lowered, or it would be, too
    _schedule(0, os.SCHED_IDLE)
    try:
        yield
    finally:
        is_over.set()
        watchdog.join()


def _raise_after(is_over: threading.Event, limit_s: float) -> None:
    is_over.wait(limit_s)
    while lowered := [thread for thread in _threads() if _is_lowered(thread)]:
        for thread in lowered:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                _schedule(thread, os.SCHED_OTHER)


def _may_be_raised() -> bool:
    """Try it, in a thread that is not needed any more: capabilities and limits do not tell what a sandbox forbids."""
    may = threading.Event()

    def try_it() -> None:
        with contextlib.suppress(OSError):
            _schedule(0, os.SCHED_IDLE)
            _schedule(0, os.SCHED_OTHER)
            may.set()

    if hasattr(os, "SCHED_IDLE"):
        trial = threading.Thread(target=try_it, name="idle-start-trial")
        trial.start()
        trial.join()
    return may.is_set()


def _threads() -> list[int]:
    return [int(task.name) for task in Path("/proc/self/task").iterdir()]


def _is_lowered(thread: int) -> bool:
    try:
        return os.sched_getscheduler(thread) == os.SCHED_IDLE
    except ProcessLookupError:
        return False


def _schedule(thread: int, policy: int) -> None:
    os.sched_setscheduler(thread, policy, os.sched_param(0))
