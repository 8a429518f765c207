"""The keys under which the monitor, its counters and those who look at it find the same things."""

from __future__ import annotations

from typing import NamedTuple


class MonitorKeys(NamedTuple):
    """Names of streams, hashes and strings; each begins with the prefix of all keys."""

    log: str
    counts: str
    references: str
    trials: str
    state: str
    poison: str
    """Entries of log and labels that could not be processed."""
    labels: str
    seen: str
    holds: str
    lease: str
    incidents: str
    taken: str
    """Beginning of the keys of single counters."""


def monitor_keys(prefix: str) -> MonitorKeys:
    """Name the keys."""
    return MonitorKeys(
        log=f"{prefix}log",
        counts=f"{prefix}monitor:counts",
        references=f"{prefix}monitor:references",
        trials=f"{prefix}monitor:trials",
        state=f"{prefix}monitor:state",
        poison=f"{prefix}log:poison",
        labels=f"{prefix}labels",
        seen=f"{prefix}monitor:seen",
        holds=f"{prefix}monitor:holds",
        lease=f"{prefix}monitor:lease",
        incidents=f"{prefix}incidents",
        taken=f"{prefix}monitor:taken:",
    )
