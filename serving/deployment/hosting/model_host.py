"""A shared host: one socket, many guests, of which the used ones are loaded. Knows no Ray."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Final

from serving.channel.endpoint import Endpoint
from serving.channel.frames import Frame, Kind
from serving.channel.server import ChannelServer, Connection
from serving.deployment.health_check import Unhealthy
from serving.deployment.hosting.crash_marks import Marks, read_marked
from serving.deployment.hosting.eviction import ResidenceRules
from serving.deployment.hosting.guest_cache import GuestCache
from serving.deployment.hosting.guest_loader import GuestLoader
from serving.deployment.hosting.guest_server import GuestServer, refuse
from serving.deployment.hosting.host_files import Guest, HostFiles, HostReport, guest_name
from serving.deployment.hosting.host_meters import HostMeters
from serving.deployment.spec import HostSpec
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import Signature
from serving.registry.cache import ArtifactCache
from serving.telemetry.failure_log import FailureLog
from serving.telemetry.instruments import Registry

#: How often the list of guests is looked at, and a report written that has changed.
_TICK_S: Final = 0.1
#: A host loads who was asked for this long before it started: asking is what may have started it.
_ASKING_LASTS_S: Final = 30.0
_log = logging.getLogger(__name__)


class ModelHost:
    """Serves the guests that its files list."""

    def __init__(self, spec: HostSpec, *, token: bytes, registry: Registry, replica_id: str, node: str) -> None:
        self._spec = spec
        self._files = HostFiles(spec.run_dir)
        self._meters = HostMeters(registry)
        self._cache = ArtifactCache(spec.state_dir / "cache", spec.cache_max_bytes)
        self._suspects = self._read_suspects()
        self._marks = Marks(self._files.marks(spec.number))
        loader = GuestLoader(self._cache, registry, self._marks)
        self._guest_cache = GuestCache(loader, ResidenceRules(spec.max_loaded, spec.cold_after_s), self._meters)
        self._channel = ChannelServer(
            token=token,
            max_in_flight=spec.max_in_flight,
            on_frame=self._on_frame,
            on_lost=self._on_lost,
            knows=self._knows,
        )
        self._started_at = time.time()
        self._stamp = 0
        self._failures = FailureLog(_log, "Reading the list of guests")
        self._reported = HostReport()
        self._report_failures = FailureLog(_log, "Reporting on the guests")
        self._following: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        uds = str(spec.run_dir / f"host-{replica_id}.sock")
        self.endpoint: Final = Endpoint(replica_id, uds, node, os.getpid(), Signature((), ()), spec.max_in_flight)
        """Of the process; whoever calls a guest adds its name and signature."""

    async def start(self) -> None:
        """Read who the guests are, listen, load those that are kept."""
        self._read_guests()
        with self._report_failures.guard():
            self._report()
        await self._channel.listen(self.endpoint.uds)
        self._guest_cache.start()
        self._following = asyncio.create_task(self._follow_guests(), name="follow-guests")

    def check(self) -> None:
        """Raise `Unhealthy` when only a new process helps."""
        if self._guest_cache.unwell:
            raise Unhealthy(self._guest_cache.unwell)

    def stats(self) -> dict[str, float]:
        """Tell the autoscaler whether anybody is at home: a host whose guests are all cold may end."""
        occupied = any(guest.state in {"loaded", "loading"} for guest in self._guest_cache.guests.values())
        return {"occupied": float(occupied)}

    async def close(self) -> None:
        """Tell routers to go elsewhere, answer what is here, end."""
        self._channel.go_away()
        deadline = time.monotonic() + self._spec.drain_timeout_s
        while not self._guest_cache.idle and time.monotonic() < deadline:  # noqa: ASYNC110 - runs and answers may end it
            await asyncio.sleep(0.01)
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, *self._leaving, return_exceptions=True)
        await self._guest_cache.close()
        await self._channel.close()
        self._marks.close()
        self._cache.close()

    def _knows(self, name: str) -> bool:
        if name not in self._guest_cache.guests:
            self._read_guests()  # a router may have heard of it first
        return name in self._guest_cache.guests

    def _on_frame(self, connection: Connection, frame: Frame) -> None:
        guest = self._guest_cache.guests.get(connection.guest)
        if guest is not None:
            guest.on_frame(connection, frame)
        elif frame.kind == Kind.INFER:
            refuse(connection, frame, ServingError(ErrorKind.UNAVAILABLE, "the version has left this host"))

    def _on_lost(self, connection: Connection) -> None:
        guest = self._guest_cache.guests.get(connection.guest)
        if guest is not None:
            guest.on_lost(connection)

    def _read_suspects(self) -> frozenset[str]:
        """Name those whose code ran when a predecessor's process ended."""
        marked = read_marked(self._files.marks(self._spec.number))
        for name in marked:
            _log.warning("The host's process died while %s was at work: it is not let in again", name)
        return marked | frozenset(self._files.read_report(self._spec.number).suspects)

    def _read_guests(self) -> None:
        """Follow the list of guests, if it has changed; one that cannot be read changes nothing, and is read again."""
        with self._failures.guard():
            stamp = self._files.stamp(self._spec.number)
            if stamp != self._stamp:
                self._follow(self._files.read_guests(self._spec.number))
                self._stamp = stamp

    def _follow(self, guests: list[Guest]) -> None:
        listed = {guest_name(each.spec.model, each.spec.version): each for each in guests}
        self._suspects &= listed.keys()
        for name in self._guest_cache.guests.keys() - listed.keys():
            leaver = self._guest_cache.guests.pop(name)
            task = asyncio.create_task(self._see_off(name, leaver), name=f"see-off-{name}")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for name in listed.keys() - self._suspects:
            self._take(name, listed[name])

    def _take(self, name: str, guest: Guest) -> None:
        known = self._guest_cache.guests.get(name)
        asked_before = known.guest.asked_at if known else self._started_at - _ASKING_LASTS_S
        if known is None:
            self._guest_cache.admit(name, guest)
        else:
            known.guest = guest
        if guest.kept or guest.asked_at > asked_before:
            self._guest_cache.want(self._guest_cache.guests[name])

    async def _see_off(self, name: str, guest: GuestServer) -> None:
        """Let a guest go that is listed no more: its routers first, which then send nothing new."""
        connections = [each for each in self._channel.connections if each.guest == name]
        self._channel.dismiss(connections)
        await self._guest_cache.see_off(guest, self._spec.drain_timeout_s)
        for connection in connections:
            connection.close()

    async def _follow_guests(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._read_guests()
            with self._report_failures.guard():  # a full disk must not end the service
                self._report()

    def _report(self) -> None:
        guests = {name: guest.report() for name, guest in self._guest_cache.guests.items()}
        self._meters.show(guests.values())
        report = HostReport(os.getpid(), guests, tuple(sorted(self._suspects)))
        if report != self._reported:
            self._files.write_report(self._spec.number, report)
            self._reported = report
