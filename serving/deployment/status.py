"""How a version's application or shared host does, in words that need no Ray. Pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import msgspec

from serving.protocol.messages import Signature


class AppPhase(Enum):
    """Where an application stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


class GuestStatus(msgspec.Struct, frozen=True):
    """How a version does that shares its process."""

    host: int
    """The shared host's number."""
    signature: Signature
    loaded: bool = False
    """It is in memory; else its next request waits for it."""
    load_s: float = 0.0
    facts: dict[str, str | int | float] = {}
    """As of its last load; see `Endpoint.facts`."""


class AppStatus(NamedTuple):
    """What is seen of one version."""

    phase: AppPhase
    reason: str = ""
    """Why it failed, or what it waits for."""
    final: bool = False
    """For FAILED: another attempt would fail the same way."""
    patient: bool = False
    """For FAILED: it was not the version that failed, but something that it needs: attempts need not end."""
    note: str = ""
    """What else an operator should know of how it runs."""
    guest: GuestStatus | None = None
    """Of a version in a shared host; None: it has an application of its own."""

    @property
    def is_cold(self) -> bool:
        """It is in a shared host, and not in memory there."""
        return self.guest is not None and not self.guest.loaded
