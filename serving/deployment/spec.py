"""What a process must know to serve versions, and how versions and hosts are named in Ray Serve. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from serving.backends.outgoing import Reach

#: Name of the one deployment in each version's application.
DEPLOYMENT: Final = "ModelReplica"
#: File of a node's run directory with the shared secret of the tensor channel.
CHANNEL_TOKEN_FILE: Final = "channel.token"  # noqa: S105 - a file name
_APP_NAME = re.compile(r"model\.(.+)\.([1-9][0-9]*)", re.ASCII)
_HOST_NAME = re.compile(r"host\.([1-9][0-9]*)", re.ASCII)


class Scale(msgspec.Struct, frozen=True):
    """Between which numbers of replicas a version moves, by which load, and how fast."""

    min_replicas: int
    max_replicas: int
    target_in_flight: float
    max_queued: float
    objective_ms: float
    interval_s: float = 0.5
    """Between two reports of a replica."""
    up_delay_s: float = 1.0
    """How long there must be too few replicas before one is added."""
    down_delay_s: float = 60.0
    to_zero_after_s: float = 300.0


class VersionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One version and the surroundings of its replicas; travels to them pickled."""

    model: str
    version: int
    state_dir: Path
    """Holds the embedded registry, and the cache of verified artifacts."""
    registry_uri: str | None
    """An MLflow tracking server; None for the embedded registry."""
    run_dir: Path
    """Sockets and the channel's secret of this node; short enough for a socket's path."""
    metrics_dir: Path
    """Where processes of this node leave their metrics."""
    logs_dir: Path
    """Where processes of this node log."""
    log_level: str = "info"
    allowed_folders: tuple[Path, ...] = ()
    """Where, beside the embedded registry, versions may have local files."""
    reach: Reach = Reach()
    """How far a backend may reach beyond its process."""
    cache_max_bytes: int
    tags: Mapping[str, str] = {}
    """The version's registry tags as they are now, which may be newer than those in the cache."""
    replicas: int = 1
    routers: int = 1
    """Router processes of a node, each of which wants a core."""
    scale: Scale | None = None
    """None keeps the number of replicas as it is."""
    gpu_share: float = 0.0
    """Part of a GPU that each replica takes."""
    max_in_flight: int = 256
    drain_timeout_s: float = 10.0
    metrics_interval_s: float = 0.5


class HostSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A shared host and its surroundings; travels to it pickled."""

    number: int
    state_dir: Path
    """Holds the cache of verified artifacts."""
    run_dir: Path
    metrics_dir: Path
    logs_dir: Path
    log_level: str = "info"
    cache_max_bytes: int
    max_loaded: int
    """Guests that are loaded at once."""
    cold_after_s: float
    """How long a guest without requests stays loaded."""
    max_in_flight: int = 256
    """Requests that one router may have outstanding at one guest."""
    drain_timeout_s: float = 10.0
    metrics_interval_s: float = 0.5


def host_name(number: int) -> str:
    """Name the Serve application of a shared host."""
    return f"host.{number}"


def parse_host_name(name: str) -> int | None:
    """Read a host's number from an application's name; None for an application of another kind."""
    match = _HOST_NAME.fullmatch(name)
    return int(match[1]) if match else None


def app_name(model: str, version: int) -> str:
    """Name the Serve application of a version."""
    return f"model.{model}.{version}"


def parse_app_name(name: str) -> tuple[str, int] | None:
    """Read model and version from an application's name; None for an application of another kind."""
    match = _APP_NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else None
