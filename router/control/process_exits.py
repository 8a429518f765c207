"""Tells a process that died from one that leaves in order."""

from __future__ import annotations

import os
from pathlib import Path

from serving.channel.endpoint import Endpoint


def has_died(endpoint: Endpoint) -> bool:
    """Tell whether a replica that has just been taken off the list is dead; one that leaves in order still drains.

    Of replicas on other nodes nothing is known: their sockets are not here.
    """
    if not Path(endpoint.uds).exists():
        return False
    try:
        os.kill(endpoint.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
