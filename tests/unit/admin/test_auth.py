"""Tokens: made once, kept as hashes, private on disk, ended at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.admin.auth import HASHES_FILE, TOKEN_FILE, TokenStore
from router.admin.operations import Caller, Role


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def lax_umask() -> Iterator[None]:
    """New files would be open to everybody."""
    previous = os.umask(0)
    yield
    os.umask(previous)


def test_the_first_token_is_private_whatever_the_umask(tmp_path: Path, lax_umask: None) -> None:
    """0600, and the hashes too."""
    TokenStore(tmp_path).ensure_admin()
    assert (mode_of(tmp_path / TOKEN_FILE), mode_of(tmp_path / HASHES_FILE)) == (0o600, 0o600)


def test_the_first_token_stays_over_a_restart(tmp_path: Path) -> None:
    """Scripts that hold it go on working."""
    token = TokenStore(tmp_path).ensure_admin().read_text()
    assert TokenStore(tmp_path).ensure_admin().read_text() == token
    assert TokenStore(tmp_path).authenticate(token.strip()) == Caller("admin", Role.ADMIN)


def test_deleting_the_file_renews_the_first_token(tmp_path: Path) -> None:
    """The way to end a token that leaked; others stay."""
    store = TokenStore(tmp_path)
    leaked = store.ensure_admin().read_text().strip()
    other = store.add("vera", Role.VIEWER)
    (tmp_path / TOKEN_FILE).unlink()
    store.ensure_admin()
    assert store.authenticate(leaked) is None
    assert store.authenticate(other) == Caller("vera", Role.VIEWER)


def test_no_token_but_the_first_is_anywhere_in_the_clear(tmp_path: Path) -> None:
    """Whoever reads a backup learns names and hashes."""
    store = TokenStore(tmp_path)
    store.ensure_admin()
    token = store.add("vera", Role.VIEWER)
    assert all(token.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_a_second_token_of_a_name_ends_the_first(tmp_path: Path) -> None:
    """One name, one token."""
    store = TokenStore(tmp_path)
    old, new = store.add("ada", Role.VIEWER), store.add("ada", Role.OPERATOR)
    assert store.authenticate(old) is None
    assert store.authenticate(new) == Caller("ada", Role.OPERATOR)
    assert store.names() == (Caller("ada", Role.OPERATOR),)


def test_another_process_sees_changes_at_once(tmp_path: Path) -> None:
    """The command line writes, the gateway reads."""
    gateway, command_line = TokenStore(tmp_path), TokenStore(tmp_path)
    token = command_line.add("ada", Role.OPERATOR)
    assert gateway.authenticate(token) is not None
    assert command_line.remove("ada")
    assert gateway.authenticate(token) is None
    assert not command_line.remove("ada")


@pytest.mark.parametrize("token", ["", "shp_", "x" * 100_000, "schön", "\x00"])
def test_what_is_no_token_belongs_to_nobody(tmp_path: Path, token: str) -> None:
    """Whatever it is made of."""
    store = TokenStore(tmp_path)
    assert store.authenticate(token) is None
    store.ensure_admin()
    assert store.authenticate(token) is None
