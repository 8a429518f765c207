"""Calls webhooks: only listed hosts, no redirects, the connection pinned to the address that was checked, signed.

An address that an operator may write into a plan is an address that the control process calls, from inside the network.
So the host must be in the allow-list, its name must resolve to public addresses (or to ones that the list names as IP
or CIDR), and the connection goes to the address that was checked, so that a name cannot change its mind in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class WebhookRefused(Exception):
    """The call was not made: says why and what to change."""


class AllowList:
    """Which hosts and which addresses may be called."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for entry in entries:
            try:
                self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                self._names.add(entry.lower())

    def check_host(self, host: str) -> None:
        """Raise `WebhookRefused` unless the host is listed, by name or as an address of a listed network."""
        if host.lower() in self._names:
            return
        try:
            listed = any(ipaddress.ip_address(host) in network for network in self._networks)
        except ValueError:
            listed = False
        if not listed:
            raise WebhookRefused(f"{host} is not in webhook_hosts")

    def check_address(self, host: str, address: Address) -> None:
        """Raise `WebhookRefused` for an address that is not public and not listed."""
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        address = mapped or address
        if not address.is_global and not any(address in network for network in self._networks):
            raise WebhookRefused(
                f"{host} is {address}, inside a network; list that address in webhook_hosts to allow it"
            )


class Webhooks:
    """Posts signed JSON."""

    def __init__(self, allowed: Iterable[str], secret: bytes) -> None:
        self._allowed = AllowList(allowed)
        self._secret = secret

    async def post(
        self,
        url: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        delivery: str,
        at: float,
        timeout_s: float,
        content_type: str = "application/json",
        authorization: str | None = None,
    ) -> int:
        """Post; return the answer's status.

        The signature is HMAC-SHA256 over `<delivery>.<at>.<body>`, `at` in whole Unix seconds: a receiver that refuses
        old ones and known delivery ids cannot be replayed to. So give the time of sending, also when it is tried again.

        Raises:
            WebhookRefused: the host or its address may not be called.
            httpx.HTTPError: no answer, or none in time.
        """
        parts = httpx.URL(url)
        self._allowed.check_host(parts.host)
        content = msgspec.json.encode(body)
        timestamp = str(int(at))
        signed = hmac.new(self._secret, f"{delivery}.{timestamp}.".encode() + content, hashlib.sha256).hexdigest()
        headers = {
            "Host": parts.netloc.decode(),
            "Content-Type": content_type,
            "X-Shepherd-Delivery": delivery,
            "X-Shepherd-Timestamp": timestamp,
            "X-Shepherd-Signature": f"sha256={signed}",
        }
        if authorization is not None:
            headers["Authorization"] = authorization
        async with asyncio.timeout(timeout_s):
            address = await self._resolve(parts.host, parts.port or (443 if parts.scheme == "https" else 80))
            pinned = parts.copy_with(host=address)
            async with (
                httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, trust_env=False) as client,
                client.stream(
                    "POST", pinned, content=content, headers=headers, extensions={"sni_hostname": parts.host}
                ) as answer,
            ):
                return answer.status_code

    async def _resolve(self, host: str, port: int) -> str:
        """Look a host up once, check every address it has, and give the one to connect to."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            self._allowed.check_address(host, ipaddress.ip_address(address))
        return addresses[0]


def ensure_secret(path: Path) -> bytes:
    """Read the secret that receivers check signatures with; where there is none, make one for its owner's eyes only."""
    with contextlib.suppress(FileExistsError), open(path, "xb", opener=_private) as file:
        file.write(secrets.token_hex(32).encode())
    return path.read_bytes().strip()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
