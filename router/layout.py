"""Where everything lies in a state directory. Pure.

Two kinds of things have short names: sockets, whose paths the kernel limits to 107 bytes, and Ray's folder, which adds
up to 62 bytes for sockets of its own. They lie in the run directory, which is `STATE/run` when that is short enough and
a folder of its own otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

#: sizeof(sockaddr_un.sun_path) on Linux, less the final NUL.
MAX_SOCKET_PATH_BYTES: Final = 107
#: The longest thing put behind a run directory: `/ray/session_<date>_<time>_<microseconds>_<pid>/sockets/plasma_store`.
_LONGEST_SOCKET_BYTES: Final = 70


class Layout(msgspec.Struct, frozen=True):
    """The paths of one gateway node."""

    state_dir: Path
    run_dir: Path
    """Sockets, metrics of the living, Ray's session; of no worth once the gateway has stopped."""

    @property
    def lock_file(self) -> Path:
        """Locked while a gateway runs on this directory."""
        return self.state_dir / "lock"

    @property
    def node_file(self) -> Path:
        """Who runs here and where it listens; there only while it is ready."""
        return self.state_dir / "run" / "node.json"

    @property
    def webhook_secret_file(self) -> Path:
        """What receivers of webhooks check signatures with."""
        return self.state_dir / "webhook.secret"

    @property
    def log_key_file(self) -> Path:
        """Key of the hashes that stand for hidden values in the request log."""
        return self.state_dir / "log.key"

    @property
    def logs_dir(self) -> Path:
        """Logs of all processes."""
        return self.state_dir / "logs"

    @property
    def redis_dir(self) -> Path:
        """Data of the embedded Valkey."""
        return self.state_dir / "redis"

    @property
    def redis_socket(self) -> Path:
        """Where the embedded Valkey listens."""
        return self.run_dir / "redis.sock"

    @property
    def registry_dir(self) -> Path:
        """The embedded registry: database and files."""
        return self.state_dir / "registry"

    @property
    def cache_dir(self) -> Path:
        """Verified artifacts by digest."""
        return self.state_dir / "cache"

    @property
    def proofs_dir(self) -> Path:
        """What versions have proven on this machine before they were let into a shared host."""
        return self.state_dir / "proofs"

    @property
    def spool_dir(self) -> Path:
        """Records on their way to the request log: one folder per run of a router."""
        return self.state_dir / "spool"

    @property
    def policies_file(self) -> Path:
        """The last good policies."""
        return self.state_dir / "policies.json"

    @property
    def keys_file(self) -> Path:
        """Digests and scopes of the last known keys of the data plane."""
        return self.state_dir / "keys.json"

    @property
    def metrics_dir(self) -> Path:
        """What the processes publish for the scrape; it outlives them, so that counters go on after a restart."""
        return self.state_dir / "metrics"

    @property
    def ray_dir(self) -> Path:
        """Ray's temporary directory."""
        return self.run_dir / "ray"

    @property
    def ray_token_file(self) -> Path:
        """The secret of the Ray cluster."""
        return self.run_dir / "ray.token"

    def slot_lock(self, number: int) -> Path:
        """Locked by the router that holds a slot."""
        return self.run_dir / f"router-{number}.lock"

    def infer_socket(self, number: int) -> Path:
        """Where the router of a slot takes inferences from the gRPC door."""
        return self.run_dir / f"router-{number}.infer.sock"

    def grpc_socket(self, number: int) -> Path:
        """Where the router of a slot serves the rest of gRPC to the door."""
        return self.run_dir / f"router-{number}.grpc.sock"


def slot_count(routers: int) -> int:
    """Count the places of a node: more than routers, so that a successor starts beside one that drains."""
    return routers + routers // 4 + 1


def fits(run_dir: Path) -> bool:
    """Tell whether all sockets of a run directory have acceptable paths."""
    return len(bytes(run_dir)) + _LONGEST_SOCKET_BYTES <= MAX_SOCKET_PATH_BYTES
