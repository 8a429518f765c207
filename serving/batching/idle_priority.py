"""A thread that takes the processor only while nobody else wants it."""

from __future__ import annotations

import contextlib
import os


def yield_processor() -> None:
    """Put the calling thread, and those that it starts, behind everything else on this machine (Linux: SCHED_IDLE).

    For good: an ordinary user may lower a thread and not raise it again (sched(7), RLIMIT_NICE). Stronger than any
    `nice` value, because a thread that wakes up need not wait for the end of an idle one's slice of time.

    Beware of the interpreter's lock: while all cores are busy, a thread that is so low may keep it for a second.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # a sandbox may forbid it; then the thread is an ordinary one
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
