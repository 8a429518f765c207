"""Which machines a backend may speak to, and where it may write. Pure.

A version's tags are text that anyone with write access to the registry chooses. Left unchecked they would make the
gateway speak to any host of its network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from serving.protocol.errors import invalid


class Reach(NamedTuple):
    """How far a backend may reach beyond this process: the operator's choice, which no tag of a version widens."""

    hosts: tuple[str, ...] = ()
    """Machines, beside this one, that it may speak to."""
    push_folder: Path | None = None
    """The model repository of Triton servers into which it may put models; None for nowhere."""


class Address(NamedTuple):
    """Where a server listens, and what it speaks there."""

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """The address as `host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(url: str, schemes: Collection[str]) -> Address:
    """Read `scheme://host:port`.

    Raises:
        ServingError: INVALID, it is something else.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    expected = " or ".join(f"{scheme}://HOST:PORT" for scheme in schemes)
    if not host or not port or parts.scheme not in schemes or parts.path.strip("/") or parts.query or parts.username:
        raise invalid(f"address {url[:200]!r} is not acceptable: expected {expected}")
    return Address(parts.scheme, host, port)


def check_host(address: Address, allowed_hosts: Collection[str]) -> Address:
    """Accept an address on this machine, or on a host that the operator allows.

    Names are compared as written and never looked up, so that no name server can change the answer.

    Raises:
        ServingError: INVALID, it is not acceptable.
    """
    if is_loopback(address.host) or address.host in allowed_hosts:
        return address
    allowed = ", ".join(sorted(allowed_hosts)) or "no other host"
    raise invalid(
        f"host '{address.host}' may not be spoken to: allowed are this machine and {allowed};"
        " an operator adds hosts with the setting backend_allowed_hosts"
    )


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself; of names only `localhost` is."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
