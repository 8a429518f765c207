"""Starts programs that end with us: in a session of their own, ended by the kernel when their starter dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

#: Run between fork and the program, in an interpreter of its own: code between fork and exec of ours could not be safe,
#: with Ray's threads about. PR_SET_PDEATHSIG is 1; the parent may have died before it was set.
_LAUNCHER: Final = """
import ctypes, os, resource, signal, sys
parent = int(sys.argv[1])
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != parent:
    sys.exit(1)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
os.execv(sys.argv[2], sys.argv[2:])
"""


def start_child(program: Path, arguments: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
    """Start a program whose output is appended to `log`, with as many open files as this machine allows it.

    To be called from a thread that lives as long as the program should: the kernel sends it SIGTERM when that thread
    ends, even by SIGKILL (prctl(2)). A Ctrl-C at the terminal does not reach it.

    Raises:
        OSError: the log cannot be written.
    """
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - a program of our own choice, our own arguments
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def last_lines(log: Path, count: int = 5) -> str:
    """Read the end of a log for a message about a program that failed."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return "(no log)"
