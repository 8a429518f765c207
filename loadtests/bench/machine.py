"""Where a result comes from: machine, versions, commit, command; nothing that names a host or a person."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

_PACKAGES = ("uvicorn", "uvloop", "onnxruntime", "ray")


def describe_machine() -> dict[str, str]:
    """Name what the figures depend on: processor, cores, memory, kernel, interpreter, libraries, load generator."""
    processor = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout.split()
    return {
        "processor": processor[1].strip() if processor else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "kernel": platform.release().partition("-")[0],
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "wrk": wrk[1] if len(wrk) > 1 else "?",
    }


def describe_commit() -> str:
    """Name the checked-out commit, marked when the tree differs from it; `unknown` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.stdout.strip() or "unknown"


def describe_command() -> str:
    """Return the command that repeats this run."""
    spec = sys.modules["__main__"].__spec__
    module = spec.name.removesuffix(".__main__") if spec else "loadtests.bench"
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def describe_load() -> str:
    """Tell what else the machine does, as far as its load average over the last minute tells."""
    return f"{os.getloadavg()[0]:.1f}"
