"""Ends what Ray has left when the gateway is killed: a bystander that waits for the end of its standard input.

The kernel ends Ray's own servers with us, and these end their workers. But Ray's agents try to say goodbye to a server
that is gone, for a minute. All of Ray's processes are in the sessions of the two that we started, which is how they are
found. Run as a program, by path and with the standard library only, so that it costs little and starts at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

#: Time for the processes to end by themselves: routers flush their logs.
_GRACE_S = 3.0


def start_reaper(sessions: Iterable[int], log: Path) -> subprocess.Popen[bytes]:
    """Have these sessions ended when this process ends, or when it closes the reaper's standard input."""
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - this very file
            [sys.executable, "-I", "-S", __file__, *map(str, sessions)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def end_sessions(sessions: Iterable[int]) -> None:
    """Kill every process of the sessions, so long as they are those that are there now."""
    kill(members(frozenset(sessions), before=_ticks_since_boot()))


def kill(pids: Iterable[int]) -> None:
    """Kill processes, of which some may have ended since they were listed."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def members(sessions: frozenset[int], *, before: float) -> list[int]:
    """Find the processes of sessions that started before a time, in clock ticks since boot; see proc_pid_stat(5)."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            state, session, started = fields[0], int(fields[3]), int(fields[19])
            if session in sessions and started <= before and state not in "ZX":
                found.append(int(folder.name))
    return found


def _ticks_since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Wait for the end of the input, give the sessions a moment, and end them."""
    sessions = frozenset(map(int, sys.argv[1:]))
    sys.stdin.buffer.read()
    noticed = _ticks_since_boot()
    deadline = time.monotonic() + _GRACE_S
    while members(sessions, before=noticed) and time.monotonic() < deadline:
        time.sleep(0.1)
    kill(members(sessions, before=noticed))


if __name__ == "__main__":
    main()
