"""How many threads a replica may use: its share of the cores of its node.

Cores go to routers first, one each, since every request passes there; what is left is shared by the replicas. A replica
that is alone on a machine with many cores gets most of them, and each of many gets one.
"""

from __future__ import annotations

import math
import os
import socket
from pathlib import Path
from typing import Final

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def thread_share(cores: int, *, routers: int, replicas: int) -> int:
    """Return the threads of one replica, at least one.

    Args:
        cores: of the node.
        routers: processes of the node that want a core each.
        replicas: that share the rest, this one among them.
    """
    return max(1, (cores - routers) // max(1, replicas))


def node_cores(quota: Path = _QUOTA) -> int:
    """Return the cores that this process may use: by its affinity, and by the quota of its control group (v2)."""
    cores = len(os.sched_getaffinity(0))
    try:
        allowed_us, period_us = quota.read_text().split()
        return max(1, min(cores, math.ceil(int(allowed_us) / int(period_us))))
    except (OSError, ValueError):  # no control group, or `max`: no quota
        return cores


def replicas_here(run_dir: Path, own: int) -> int:
    """Return how many replicas share the node: those that listen there now, or as many as this version may have."""
    return max(own, sum(map(_listens, run_dir.glob("replica-*.sock"))))


def _listens(path: Path) -> bool:
    """Tell a replica from the file that a killed one has left."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(0)
        try:
            caller.connect(str(path))
        except BlockingIOError:  # it is there, and more want to call it than it has taken yet
            return True
        except OSError:
            return False
    return True
