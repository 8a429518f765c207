"""Checks of the place a gateway would run in: its ports, its state directory, Redis and the registry."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from router.cli.client import GatewayUnreachable
from router.cli.findings import Finding, broken, ok, warning
from router.cli.location import Node, find_node
from router.settings import Settings
from router.settings_fields import flag_of

_GIB: Final = 1024**3
_SPACE_NEEDED_BYTES: Final = 256 * 1024**2
_SPACE_ADVISED_BYTES: Final = 2 * _GIB
_PATIENCE_S: Final = 3.0


def check_ports(settings: Settings) -> list[Finding]:
    """Is each port free, or held by this state directory's gateway?"""
    try:
        node = find_node(settings.state_dir)
    except GatewayUnreachable:
        node = None
    return [
        _check_port(settings.admin_host if key == "admin_port" else settings.host, getattr(settings, key), key, node)
        for key in ("http_port", "grpc_port", "metrics_port", "admin_port")
    ]


def check_state_dir(settings: Settings) -> Finding:
    """Can the state be written, is it closed to others, and is there space?"""
    directory = settings.state_dir
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return broken("state directory", f"{existing} cannot be written", "choose another with --state DIR")
    free = shutil.disk_usage(existing).free
    seen = f"{directory}, {free / _GIB:.1f} GiB free"
    if free < _SPACE_NEEDED_BYTES:
        return broken("state directory", seen, "free some space, or choose another with --state DIR")
    exposed = _exposed(directory)
    if exposed:
        return warning("state directory", f"others may read {exposed}", f"chmod go= {exposed}")
    if free < _SPACE_ADVISED_BYTES:
        return warning("state directory", seen, "the spool may take up to spool_max_bytes; free some space")
    return ok("state directory", seen)


def check_redis(settings: Settings) -> Finding:
    """Does the given Redis answer? Without one, the embedded Valkey is used."""
    if settings.redis_url is None:
        return ok("redis", "embedded")
    parts = urlsplit(settings.redis_url)
    place = parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
    mend = "start it, or correct --redis-url; without one an embedded Valkey is used"
    try:
        with _open(parts.scheme, place) as connection:
            connection.settimeout(_PATIENCE_S)
            if parts.scheme == "rediss":
                return ok("redis", f"{place} accepts connections (TLS, not tried further)")
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
    except OSError as error:
        return broken("redis", f"{place}: {error.strerror or error}", mend)
    # +PONG, or -NOAUTH when it wants the password first: either way it is one.
    if answer[:1] not in {b"+", b"-"}:
        return broken("redis", f"{place} does not speak the Redis protocol", mend)
    return ok("redis", f"{place} answers")


def check_registry(settings: Settings) -> Finding:
    """Does the given MLflow server answer? Without one, the registry is in the state directory."""
    uri = settings.registry_uri
    if uri is None:
        return ok("registry", "embedded")
    parts = urlsplit(uri)
    if parts.scheme == "sqlite":
        folder = Path(parts.path.removeprefix("/")).parent if parts.path else Path()
        if folder.is_dir():
            return ok("registry", uri)
        return broken("registry", f"{folder} is not a directory", "create it, or correct --registry")
    shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
    mend = "start it, or correct --registry; a gateway that has run before serves from its cache"
    try:
        answer = httpx.get(f"{uri.rstrip('/')}/health", timeout=_PATIENCE_S)
    except httpx.HTTPError as error:
        return broken("registry", f"{shown}: {error}", mend)
    if answer.is_error:
        return broken("registry", f"{shown}: /health answers {answer.status_code}", mend)
    return ok("registry", f"{shown} answers")


def _check_port(host: str, port: int, key: str, node: Node | None) -> Finding:
    check = f"port {port}"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: connections of a gateway that just ended do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if node is not None and port in _ports_of(node):
            return ok(check, f"{key}: held by this gateway (pid {node.pid})")
        return broken(check, f"{key}: {error.strerror or error}", f"stop what holds it, or choose with {flag_of(key)}")
    return ok(check, f"{key}: free")


def _ports_of(node: Node) -> set[int | None]:
    addresses = (node.http, node.grpc, node.metrics, node.admin)
    return {urlsplit(address if "//" in address else f"//{address}").port for address in addresses}


def _open(scheme: str, place: str) -> socket.socket:
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_PATIENCE_S)
        connection.connect(place)
        return connection
    host, _, port = place.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=_PATIENCE_S)


def _exposed(directory: Path) -> Path | None:
    """Find a secret of the state directory that others may read."""
    for path in (directory / "admin.token", directory / "tokens.json"):
        if path.exists() and path.stat().st_mode & 0o077:
            return path
    return None
