"""How the application of a version does, in words that need no Ray. Pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class AppPhase(Enum):
    """Where an application stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


class AppStatus(NamedTuple):
    """What Ray Serve says of one version."""

    phase: AppPhase
    reason: str = ""
    """Why it failed, or what it waits for."""
    final: bool = False
    """For FAILED: another attempt would fail the same way."""
    patient: bool = False
    """For FAILED: it was not the version that failed, but something that it needs: attempts need not end."""
