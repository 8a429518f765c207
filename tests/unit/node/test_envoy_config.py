"""The door's configuration is one that the real Envoy accepts."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.layout import Layout
from router.node.envoy import door_config
from router.node.envoy_config import DoorConfig, bootstrap
from router.node.envoy_process import find_envoy
from router.settings import Settings
from tests.certificates import make_certificates


def config_of(folder: Path, **settings: Any) -> DoorConfig:
    return door_config(Settings(state_dir=folder, **settings), Layout(folder, folder))


def validate(config: DoorConfig, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "envoy.json"
    file.write_bytes(msgspec.json.encode(bootstrap(config, folder / "admin.sock")))
    binary = find_envoy()
    assert binary is not None
    return subprocess.run(
        [str(binary), "--mode", "validate", "-c", str(file)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("settings", [{}, {"routers": 16}, {"host": "::1"}, {"keep_alive_s": 1.0}])
def test_envoy_accepts_the_configuration(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Whatever the settings."""
    done = validate(config_of(tmp_path, **settings), tmp_path)

    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()


@pytest.mark.parametrize("client_ca", [False, True])
def test_envoy_accepts_tls_and_mutual_tls(tmp_path: Path, client_ca: bool) -> None:
    """With certificate and key as files."""
    made = make_certificates(tmp_path)
    ca = made.authority if client_ca else None

    done = validate(config_of(tmp_path, tls_certificate=made.certificate, tls_key=made.key, tls_client_ca=ca), tmp_path)

    assert done.returncode == 0, done.stderr


def test_idle_connections_are_closed_by_the_door_before_routers_do(tmp_path: Path) -> None:
    """So that no call is sent on a connection which its router is about to close."""
    config = config_of(tmp_path, keep_alive_s=10.0)

    assert config.idle_s < 10.0


def test_the_door_knows_every_place_of_a_router(tmp_path: Path) -> None:
    """Those for successors too."""
    config = config_of(tmp_path, routers=4)

    assert len(config.infer_sockets) == len(config.grpc_sockets) == 6
    assert len({*config.infer_sockets, *config.grpc_sockets}) == 12
