"""Find the gateway that a command is about: by its state directory on this machine, or by address and token."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import msgspec

from router.admin.auth import TOKEN_FILE
from router.cli.client import AdminClient, GatewayUnreachable
from router.layout import Layout
from router.node.directory import NodeRecord
from router.settings_sources import ResolvedSettings, parse_file, resolve

NODE_FILE: Final = Path("run", "node.json")


#: What a running gateway says of itself.
Node = NodeRecord


def read_settings(flags: dict[str, Any], config: str | None = None) -> ResolvedSettings:
    """Resolve settings from flags, this process's environment and a YAML file.

    Raises:
        SettingsError: naming what is wrong.
        OSError: the file cannot be read.
    """
    environment = dict(os.environ)  # noqa: TID251 - here the command line reads what settings are made of
    path = config or environment.get("SHEPHERD_CONFIG")
    file = parse_file(Path(path).read_text(encoding="utf-8"), path) if path else {}
    return resolve(flags, environment, file, cwd=Path.cwd(), file_name=path or "file")


def find_node(state_dir: Path) -> Node:
    """Read where the gateway of a state directory listens.

    Raises:
        GatewayUnreachable: none runs there.
    """
    advice = f"start one with `shepherd up --state {state_dir}`"
    try:
        node = msgspec.json.decode((state_dir / NODE_FILE).read_bytes(), type=Node)
    except (FileNotFoundError, NotADirectoryError):
        raise GatewayUnreachable(f"no gateway runs on {state_dir}; {advice}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise GatewayUnreachable(f"{state_dir / NODE_FILE}: {error}") from None
    if not is_alive(node.pid):
        raise GatewayUnreachable(f"the gateway of {state_dir} (pid {node.pid}) is gone; {advice}")
    return node


def connect(state_dir: Path, url: str | None, token: str | None) -> AdminClient:
    """Make a client of the gateway at `url`, else of the one that runs on `state_dir`.

    A token that is not given is read from the state directory.

    Raises:
        GatewayUnreachable: there is none, or no token for it.
    """
    address = url or find_node(state_dir).admin
    return AdminClient(address, token or _read_token(state_dir))


def redis_url(state: str | None) -> str:
    """Find the Redis of a state directory's gateway: the one of its settings, else its embedded Valkey.

    Raises:
        GatewayUnreachable: none runs there.
        SettingsError: naming what is wrong.
    """
    settings = read_settings({"state_dir": state}).settings
    if settings.redis_url is not None:
        return settings.redis_url
    find_node(settings.state_dir)
    run = settings.state_dir / "run"
    elsewhere = run / "elsewhere"
    return f"unix://{Layout(settings.state_dir, elsewhere.readlink() if elsewhere.is_symlink() else run).redis_socket}"


def is_alive(pid: int) -> bool:
    """Tell whether a process runs, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read_token(state_dir: Path) -> str:
    path = state_dir / TOKEN_FILE
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise GatewayUnreachable(f"no token: {path}: {error.strerror}; give one with --token") from None
