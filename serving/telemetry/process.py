"""Which process this is, and whether another one still runs; asked of /proc.

A pid alone is reused, on small machines and in containers soon; together with the start time it names one process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class ProcessIdentity(NamedTuple):
    """One run of one process on this machine since it booted."""

    pid: int
    started: int
    """Clock ticks from boot to its start: field 22 of /proc/PID/stat, proc(5)."""


def current_process() -> ProcessIdentity:
    """Name the calling process."""
    pid = os.getpid()
    _, started = _state_and_start(pid)
    return ProcessIdentity(pid, started)


def is_alive(process: ProcessIdentity) -> bool:
    """Tell whether that very process still runs. A zombie does not: it will never write again."""
    try:
        state, started = _state_and_start(process.pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return started == process.started and state not in "ZX"


def _state_and_start(pid: int) -> tuple[str, int]:
    # The second field is the command in parentheses and may itself hold spaces and parentheses.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[19])
