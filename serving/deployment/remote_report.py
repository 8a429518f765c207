"""What a replica says of the servers that its model lives on: two gauges, and a small file for the control process."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from serving.backends.backend import RemoteBackend
from serving.deployment.spec import app_name
from serving.telemetry.catalog import OK, TRITON_SERVERS
from serving.telemetry.instruments import Registry

_AWAY = "away"


class RemoteReport:
    """Tells of one remote backend each time that metrics are published."""

    def __init__(self, backend: RemoteBackend, metrics: Registry, model: str, version: int, run_dir: Path) -> None:
        self._backend = backend
        self._gauges = {
            outcome: metrics.gauge(TRITON_SERVERS, model=model, version=str(version), outcome=outcome)
            for outcome in (OK, _AWAY)
        }
        self._path = troubles_path(run_dir, model, version)
        self._told: dict[str, str] | None = None

    def __call__(self) -> None:
        """Set the gauges; write the file when something has changed."""
        servers = self._backend.troubles()
        troubles = {place: trouble for place, trouble in servers.items() if trouble is not None}
        self._gauges[_AWAY].set(len(troubles))
        self._gauges[OK].set(len(servers) - len(troubles))
        if troubles != self._told:
            self._told = troubles
            _write(self._path, troubles)


def troubles_path(run_dir: Path, model: str, version: int) -> Path:
    """Name a version's file."""
    return run_dir / f"{app_name(model, version)}.remote.json"


def read_troubles(path: Path) -> Mapping[str, str]:
    """Read which servers get no requests, and why; empty when all do, or nothing is known."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}


def _write(path: Path, troubles: Mapping[str, str]) -> None:
    """Replace the file at once; a disk that is full must not keep metrics from being published."""
    unfinished = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        unfinished.write_bytes(msgspec.json.encode(troubles))
        unfinished.replace(path)
