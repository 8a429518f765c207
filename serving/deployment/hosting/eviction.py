"""Which of a host's guests go cold: the idle ones, and the least recently used where too many are loaded. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Why = Literal["idle", "bound"]
"""Nobody asked for it for a time; or another needs its place."""


class Residence(msgspec.Struct, frozen=True):
    """One loaded guest."""

    last_used: float
    """Monotonic seconds."""
    kept: bool = False
    """It is compared with another version, whose first request would not have to wait: it never goes cold."""


class ResidenceRules(msgspec.Struct, frozen=True):
    """How many stay, and how long."""

    max_loaded: int
    cold_after_s: float


def leaving(loaded: Mapping[str, Residence], rules: ResidenceRules, now: float, *, room_for: int = 0) -> dict[str, Why]:
    """Choose the guests to unload, least recently used first.

    Args:
        loaded: every loaded guest, by name.
        rules: of the host.
        now: monotonic seconds.
        room_for: guests that are about to be loaded.
    """
    excess = len(loaded) + room_for - rules.max_loaded
    chosen: dict[str, Why] = {}
    evictable = (key for key, residence in loaded.items() if not residence.kept)
    for key in sorted(evictable, key=lambda key: (loaded[key].last_used, key)):
        if now - loaded[key].last_used >= rules.cold_after_s:
            chosen[key] = "idle"
        elif len(chosen) < excess:
            chosen[key] = "bound"
    return chosen
