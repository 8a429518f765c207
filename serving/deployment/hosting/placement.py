"""Which guest lives in which shared host. Pure.

Guests stay where they are: moving one would cost it a load and its neighbours nothing but risk. Versions of one model
never share, so that a canary that takes its host down leaves the stable version standing.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import msgspec

VersionKey = tuple[str, int]
Placement = Mapping[VersionKey, int]
"""Number of the host of each guest; the first is 1."""


class HostBounds(msgspec.Struct, frozen=True):
    """What one host may hold."""

    max_guests: int
    max_bytes: int
    """Of all its guests' files together."""


def place(guests: Mapping[VersionKey, int], present: Placement, bounds: HostBounds) -> dict[VersionKey, int]:
    """Give each guest a host: the one it has, else the first with room, else a new one.

    Args:
        guests: bytes of each version that is to be a guest.
        present: where guests live now; those that are no guests any more are forgotten.
        bounds: of each host. A guest that is alone in its host may have more bytes than they allow.
    """
    placed = {key: present[key] for key in guests if key in present}
    held: dict[int, _Room] = {}
    for key, host in placed.items():
        held.setdefault(host, _Room()).take(key, guests[key])
    # The largest first, as bin packing has it (first fit decreasing); by name, so that everybody places alike.
    for key in sorted(guests.keys() - placed.keys(), key=lambda key: (-guests[key], key)):
        host = next(host for host in count(1) if held.setdefault(host, _Room()).fits(key, guests[key], bounds))
        held[host].take(key, guests[key])
        placed[key] = host
    return placed


class _Room:
    """What one host holds."""

    def __init__(self) -> None:
        self._models: set[str] = set()
        self._bytes = 0

    def fits(self, key: VersionKey, size_bytes: int, bounds: HostBounds) -> bool:
        if not self._models:
            return True
        has_room = len(self._models) < bounds.max_guests and self._bytes + size_bytes <= bounds.max_bytes
        return has_room and key[0] not in self._models

    def take(self, key: VersionKey, size_bytes: int) -> None:
        self._models.add(key[0])
        self._bytes += size_bytes
