"""Reads how much memory is left: of this node, and of the GPU that this process may use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from serving.registry.memory_check import Room

#: Ray ends processes when less than this part of a node's memory is free; what it leaves is not ours to give away.
RESERVED: Final = 0.05
_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GROUP: Final = Path("/sys/fs/cgroup")
_MEMORY: Final = Path("/proc/meminfo")
_ASKED: Final = ("--query-gpu=index,uuid,memory.total,memory.free", "--format=csv,noheader,nounits")
_ANSWER_S: Final = 10.0


class Gpu(NamedTuple):
    """One line of `nvidia-smi`."""

    number: str
    uuid: str
    total_bytes: int
    free_bytes: int


def node_room(memory: Path = _MEMORY, group: Path = _GROUP) -> Room:
    """Read what is left of the node's memory, or of the control group's (v2) if that is less."""
    told = dict(line.split(":", 1) for line in memory.read_text().splitlines())
    total, free = (int(told[name].split()[0]) * _KIB for name in ("MemTotal", "MemAvailable"))
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        told = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no control group, or `max`: no limit
        limit = total
    else:
        free = min(free, limit - used + int(told.get("inactive_file", 0)))
    total = min(total, limit)
    return Room("this node", total, max(0, free - round(RESERVED * total)))


def resident_bytes(status: Path = Path("/proc/self/statm")) -> int:
    """Read how much memory this process takes."""
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Read the most memory that this program has taken; `getrusage` tells that of its parent if that is more."""
    told = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(told["VmHWM"].split()[0]) * _KIB


def gpu_room() -> Room | None:
    """Read what is left of the first GPU that this process may use; None when there is none, or nobody to ask."""
    gpu = choose_gpu(_read_gpus(), os.environ)  # noqa: TID251 - Ray tells a process so which GPU is its own
    return Room(f"GPU {gpu.number}", gpu.total_bytes, gpu.free_bytes) if gpu else None


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """Read the lines of `nvidia-smi`, sizes in MiB; one that says `[N/A]` is left out."""
    fields = (tuple(part.strip() for part in line.split(",")) for line in text.splitlines())
    return tuple(
        Gpu(number, uuid, int(total) * _MIB, int(free) * _MIB)
        for number, uuid, total, free in (each for each in fields if len(each) == 4)
        if total.isdecimal() and free.isdecimal()
    )


def choose_gpu(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> Gpu | None:
    """Find the GPU that CUDA calls the first: `CUDA_VISIBLE_DEVICES` lists numbers or UUIDs, these also abridged."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return gpus[0] if gpus else None
    first = visible.split(",")[0].strip()
    return next((gpu for gpu in gpus if first and (gpu.number == first or gpu.uuid.startswith(first))), None)


def _read_gpus() -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        told = subprocess.run([program, *_ASKED], capture_output=True, text=True, timeout=_ANSWER_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(told.stdout)
