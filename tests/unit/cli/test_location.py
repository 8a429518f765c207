"""A command finds its gateway by state directory, or by address and token."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from router.cli.client import GatewayUnreachable
from router.cli.location import connect, find_node
from tests.admin import write_node

ADMIN = "http://127.0.0.1:8080"


def test_a_running_gateway_is_found_by_its_directory(tmp_path: Path) -> None:
    """Address from the node file, token from the token file."""
    write_node(tmp_path, os.getpid(), admin=ADMIN)
    (tmp_path / "admin.token").write_text("secret\n")
    with connect(tmp_path, None, None) as client:
        assert client.url == ADMIN


def test_a_directory_without_gateway_says_how_to_start_one(tmp_path: Path) -> None:
    """Also one that does not exist."""
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(GatewayUnreachable, match="shepherd up --state"):
            find_node(directory)


def test_a_gateway_that_died_is_not_taken_for_alive(tmp_path: Path) -> None:
    """A file that was left behind by SIGKILL misleads nobody."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_node(tmp_path, ended.pid, admin=ADMIN)
    with pytest.raises(GatewayUnreachable, match="is gone"):
        find_node(tmp_path)


def test_a_damaged_node_file_is_named(tmp_path: Path) -> None:
    """Not a stack trace."""
    write_node(tmp_path, 1, admin=ADMIN)
    (tmp_path / "run/node.json").write_text("{")
    with pytest.raises(GatewayUnreachable, match=r"node\.json"):
        find_node(tmp_path)


def test_a_missing_token_is_asked_for(tmp_path: Path) -> None:
    """Both ways out are named."""
    with pytest.raises(GatewayUnreachable, match="--token"):
        connect(tmp_path, ADMIN, None)
