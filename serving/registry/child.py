"""What child processes that try models have in common: they die first when memory runs out, and it is told how."""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Final

import msgspec

from serving.backends.outgoing import Reach

_LEAST_BYTES: Final = 512 * 1024**2
#: What a SIGKILL means as a rule: these processes are the first that the kernel ends when memory runs out.
_MEMORY_RAN_OUT: Final = "most likely because memory ran out; make it smaller, lower shepherd.max_batch, or add memory"


class JobReach(msgspec.Struct, frozen=True):
    """How far a child's backend may reach, as its job says it: JSON has no paths."""

    hosts: tuple[str, ...]
    push_folder: str | None

    @classmethod
    def of(cls, reach: Reach) -> JobReach:
        """Write it down."""
        return cls(reach.hosts, str(reach.push_folder) if reach.push_folder else None)

    def read(self) -> Reach:
        """Read it back."""
        return Reach(self.hosts, Path(self.push_folder) if self.push_folder else None)


def yield_memory(limit_bytes: int) -> None:
    """Have the kernel end this process, and none that serves, should memory run out; call it in the child.

    Args:
        limit_bytes: that this process may ask for, beyond which allocations fail, but never less than it takes without
            a model; 0 for no limit.
    """
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    if limit_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (max(limit_bytes, _LEAST_BYTES),) * 2)


def describe_exit(status: int) -> str:
    """Say in words how a child ended that gave no answer, by its exit status."""
    if status >= 0:
        return f"the process that loaded it ended with status {status}"
    name = signal.Signals(-status).name
    cause = f", {_MEMORY_RAN_OUT}" if name == "SIGKILL" else ""
    return f"the process that loaded it was killed by {name}{cause}"
