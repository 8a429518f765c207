"""Processes seen from outside, by /proc: a tree's members, memory and processor time; and free ports."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def free_ports(count: int) -> list[int]:
    """Find TCP ports of the loopback address that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def process_tree(root: int) -> list[int]:
    """List a process and all its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    tree = [root]
    for pid in tree:
        tree.extend(children.get(pid, ()))
    return tree


def memory_bytes(root: int) -> Mapping[str, int]:
    """Sum the proportional set size (PSS) of a process tree by what the processes are, largest first.

    PSS counts a page that n processes share as 1/n in each, so the sum is what the tree takes from the machine.
    """
    sizes: Counter[str] = Counter()
    for pid in process_tree(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        pss = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        sizes[_what(command)] += int(pss[1]) * 1024 if pss else 0
    return dict(sizes.most_common())


def cpu_seconds(root: int) -> float:
    """Sum the processor time that the living members of a process tree have used so far."""
    return sum(cpu_seconds_by_name(root).values())


def cpu_seconds_by_name(root: int) -> Mapping[str, float]:
    """Sum the processor time that the living members of a process tree have used so far by what they are."""
    seconds: dict[str, float] = {}
    for pid in process_tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        what = _what(command)
        seconds[what] = seconds.get(what, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return seconds


def end(pids: Sequence[int]) -> None:
    """End by force what is left of a process tree."""
    for pid in reversed(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _what(command: str) -> str:
    """Name a process by its command line: Ray's processes and programs keep their names, Python modules theirs."""
    words = command.replace("\0", " ").split()
    if not words:
        return "(ended)"
    if words[0].startswith("ray::"):
        # An actor's title is `ray::Class.method`, a replica's `ray::ServeReplica:application:Deployment`.
        return words[0] if words[0].count(":") > 2 else words[0].partition(".")[0]
    if "-m" in words[1:4]:
        return words[words.index("-m") + 1]
    script = next((word for word in words[1:3] if word.endswith(".py")), words[0])
    return Path(script).name
