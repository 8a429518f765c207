"""Finds out before anything is started whether the gateway's ports are free."""

from __future__ import annotations

import socket

from router.settings import Settings
from router.settings_fields import flag_of


class PortTaken(Exception):
    """A port is in use, or may not be bound; says which and what to do."""


def require_free_ports(settings: Settings) -> None:
    """Bind and release each port.

    Routers share theirs by SO_REUSEPORT; this check does not use it, so it also notices another gateway.

    Raises:
        PortTaken: for the first that cannot be bound.
    """
    for key, host in (
        ("http_port", settings.host),
        ("grpc_port", settings.host),
        ("metrics_port", settings.host),
        ("admin_port", settings.admin_host),
    ):
        port = getattr(settings, key)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise PortTaken(f"{host}:{port}: {error.strerror}; choose another with {flag_of(key)}") from None
