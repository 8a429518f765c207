"""Tells where guests are: one watch of each shared host, passed on to whoever asks for one of its guests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import msgspec

from serving.channel.endpoint import Endpoint
from serving.deployment.hosting.host_files import HostFiles, guest_name
from serving.deployment.hosting.placement import VersionKey
from serving.deployment.spec import host_name
from serving.protocol.messages import Signature

OnEndpoints = Callable[[Sequence[Endpoint]], None]


class Watch(Protocol):
    """A subscription to an application's replicas."""

    def wake(self) -> None:
        """Ask for a replica of an application that has none."""

    async def close(self) -> None:
        """End it."""


class HostedEndpoint(NamedTuple):
    """Where a guest lives."""

    host: int
    name: str
    """See `host_files.guest_name`."""
    signature: Signature


def read_hosted_endpoints(files: HostFiles) -> dict[VersionKey, HostedEndpoint]:
    """Read where the guests of this node live: for a router that starts while nobody can be asked."""
    return {
        (guest.spec.model, guest.spec.version): HostedEndpoint(
            host, guest_name(guest.spec.model, guest.spec.version), guest.signature
        )
        for host in files.hosts()
        for guest in files.read_guests(host)
    }


class HostWatches:
    """Watches as many hosts as there are guests asked for."""

    def __init__(self, watch_app: Callable[[str, OnEndpoints], Watch]) -> None:
        self._watch_app = watch_app
        self._hosts: dict[int, _HostWatch] = {}

    def watch(self, hosted: HostedEndpoint, on_endpoints: OnEndpoints) -> GuestWatch:
        """Call `on_endpoints` with the endpoints of a guest, soon and whenever they change, until it is closed."""
        host = self._hosts.get(hosted.host)
        if host is None:
            host = self._hosts[hosted.host] = _HostWatch()
            host.watch = self._watch_app(host_name(hosted.host), host.announce)
        watch = GuestWatch(self, hosted, on_endpoints)
        host.guests.append(watch)
        if host.endpoints:
            asyncio.get_running_loop().call_soon(watch.announce, host.endpoints)
        return watch

    def wake(self, hosted: HostedEndpoint) -> None:
        """Ask for the host's process."""
        host = self._hosts[hosted.host]
        assert host.watch is not None, "set with the first guest"
        host.watch.wake()

    def wake_if_down(self, hosted: HostedEndpoint) -> None:
        """Ask for the host's process if it is known to have none; a host that nobody watches is left alone."""
        host = self._hosts.get(hosted.host)
        if host is not None and host.watch is not None and not host.endpoints:
            host.watch.wake()

    async def leave(self, watch: GuestWatch) -> None:
        """Stop telling one; the last one of a host ends its watch."""
        host = self._hosts.get(watch.hosted.host)
        if host is None or watch not in host.guests:
            return
        host.guests.remove(watch)
        if not host.guests:
            del self._hosts[watch.hosted.host]
            assert host.watch is not None, "set with the first guest"
            await host.watch.close()


class _HostWatch:
    """What is known of one host, and who wants to know."""

    def __init__(self) -> None:
        self.watch: Watch | None = None
        self.endpoints: Sequence[Endpoint] = ()
        self.guests: list[GuestWatch] = []

    def announce(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = endpoints
        for guest in tuple(self.guests):
            guest.announce(endpoints)


class GuestWatch:
    """Follows one guest; fits `Watch`."""

    def __init__(self, watches: HostWatches, hosted: HostedEndpoint, on_endpoints: OnEndpoints) -> None:
        self.hosted = hosted
        self._watches = watches
        self._on_endpoints: OnEndpoints | None = on_endpoints

    def announce(self, endpoints: Sequence[Endpoint]) -> None:
        """Pass on where the host is, as where the guest is."""
        if self._on_endpoints is not None:
            as_guest = partial(msgspec.structs.replace, guest=self.hosted.name, signature=self.hosted.signature)
            self._on_endpoints([as_guest(each) for each in endpoints])

    def wake(self) -> None:
        """Ask for the host's process."""
        self._watches.wake(self.hosted)

    async def close(self) -> None:
        """End it."""
        self._on_endpoints = None
        await self._watches.leave(self)
