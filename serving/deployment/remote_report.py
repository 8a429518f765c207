"""What a replica says of the servers that its model lives on: two gauges, and a small file for the control process.

Each replica has a file of its own, there while a server gets no requests from it. Control reads those of the replicas
that it sees, so what a killed one has left behind tells nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from serving.atomic_file import replace_file
from serving.backends.backend import RemoteBackend
from serving.deployment.spec import VersionSpec
from serving.telemetry.catalog import OK, TRITON_SERVERS
from serving.telemetry.instruments import Registry

_AWAY = "away"


class RemoteReport:
    """Tells of one remote backend each time that metrics are published."""

    def __init__(self, backend: RemoteBackend, metrics: Registry, spec: VersionSpec, replica_id: str) -> None:
        self._backend = backend
        labels = {"model": spec.model, "version": str(spec.version)}
        self._gauges = {outcome: metrics.gauge(TRITON_SERVERS, **labels, outcome=outcome) for outcome in (OK, _AWAY)}
        self._path = _path(spec.run_dir, replica_id)
        self._told: dict[str, str] = {}

    def __call__(self) -> None:
        """Set the gauges; write the file when something has changed."""
        servers = self._backend.troubles()
        troubles = {place: trouble for place, trouble in servers.items() if trouble is not None}
        self._gauges[_AWAY].set(len(troubles))
        self._gauges[OK].set(len(servers) - len(troubles))
        if troubles != self._told:
            with contextlib.suppress(OSError):  # a disk that is full must not keep metrics from being published
                _write(self._path, troubles)
                self._told = troubles

    def close(self) -> None:
        """Take the file away: this replica is asked no more."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_troubles(run_dir: Path, replica_ids: Iterable[str]) -> Mapping[str, str]:
    """Read which servers get no requests from any of these replicas, and why; empty when all do."""
    troubles: dict[str, str] = {}
    for replica_id in replica_ids:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            told = msgspec.json.decode(_path(run_dir, replica_id).read_bytes(), type=dict[str, str])
            troubles = told | troubles
    return troubles


def _path(run_dir: Path, replica_id: str) -> Path:
    return run_dir / f"replica-{replica_id}.remote.json"


def _write(path: Path, troubles: Mapping[str, str]) -> None:
    """Replace the file, or take it away when there is nothing to tell."""
    if not troubles:
        path.unlink(missing_ok=True)
        return
    replace_file(path, msgspec.json.encode(troubles))
