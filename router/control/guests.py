"""Which shared host each guest is in, as this node's files say: added, removed, kept warm, asked for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import msgspec

from router.control.reconciler import VersionKey
from serving.deployment.hosting.host_files import Guest, HostFiles, guest_name
from serving.deployment.hosting.host_watches import HostedEndpoint
from serving.deployment.hosting.placement import HostBounds, place
from serving.telemetry.failure_log import FailureLog

_log = logging.getLogger(__name__)


class Guests:
    """The lists of all hosts; what a predecessor decided is taken over.

    A list that cannot be written, as on a full disk, is written by a later `write`: the decision stands meanwhile.
    """

    def __init__(self, files: HostFiles, bounds: HostBounds, clock: Callable[[], float] = time.time) -> None:
        self._files = files
        self._bounds = bounds
        self._clock = clock
        self._kept: frozenset[VersionKey] = frozenset()
        self._guests: dict[VersionKey, Guest] = {}
        self._placed: dict[VersionKey, int] = {}
        self._asked: dict[VersionKey, float] = {}
        """When versions were asked for that have not been added yet."""
        self._unwritten: set[int] = set()
        """Hosts whose list on disk is not what was decided."""
        self._unlisted: set[VersionKey] = set()
        """Guests that no list on disk has named yet."""
        self._writing = FailureLog(_log, "Writing the lists of guests")
        for host in files.hosts():
            for guest in files.read_guests(host):
                key = (guest.spec.model, guest.spec.version)
                self._guests[key], self._placed[key] = guest, host

    @property
    def keys(self) -> frozenset[VersionKey]:
        """All guests."""
        return frozenset(self._guests)

    @property
    def hosts(self) -> frozenset[int]:
        """Hosts that have guests."""
        return frozenset(self._placed.values())

    @property
    def kept(self) -> frozenset[VersionKey]:
        """Guests that may not go cold."""
        return self._kept & self._guests.keys()

    def why_unlisted(self, key: VersionKey) -> str:
        """Say why a guest's host has not heard of it yet; empty when it has."""
        return self._writing.reason if key in self._unlisted else ""

    def of(self, host: int) -> list[VersionKey]:
        """List one host's guests."""
        return sorted(key for key, number in self._placed.items() if number == host)

    def hosted_endpoint(self, key: VersionKey) -> HostedEndpoint:
        """Say where a guest is."""
        return HostedEndpoint(self._placed[key], guest_name(*key), self._guests[key].signature)

    def add(self, guest: Guest) -> None:
        """Give a guest a host, which loads it at once if it has been asked for."""
        key = (guest.spec.model, guest.spec.version)
        asked_at = self._asked.pop(key, 0.0)
        self._guests[key] = msgspec.structs.replace(guest, kept=key in self._kept, asked_at=asked_at)
        sizes = {known: each.model_bytes for known, each in self._guests.items()}
        self._placed = place(sizes, self._placed, self._bounds)
        self._unlisted.add(key)
        self._changed([self._placed[key]])

    def remove(self, keys: Iterable[VersionKey]) -> None:
        """Take guests off their hosts' lists."""
        left = {key: self._placed.pop(key) for key in keys if self._guests.pop(key, None) is not None}
        self._unlisted -= left.keys()
        self._changed(left.values())

    def ask_for(self, key: VersionKey) -> None:
        """Somebody wants a version loaded, as if it had had a request, whether it is a guest already or will be."""
        guest = self._guests.get(key)
        if guest is None:
            self._asked[key] = self._clock()
            return
        self._guests[key] = msgspec.structs.replace(guest, asked_at=self._clock())
        self._changed([self._placed[key]])

    def keep(self, keys: frozenset[VersionKey]) -> None:
        """Learn which versions may not go cold, guests or not."""
        changed = (keys ^ self._kept) & self._guests.keys()
        self._kept = keys
        for key in changed:
            self._guests[key] = msgspec.structs.replace(self._guests[key], kept=key in keys)
        self._changed(self._placed[key] for key in changed)

    def write(self) -> None:
        """Write what could not be written before; small files, of which there is usually none."""
        if not self._unwritten:
            return
        failure: OSError | None = None
        with self._writing.guard(OSError):
            for host in sorted(self._unwritten):
                try:
                    self._files.write_guests(host, [self._guests[key] for key in self.of(host)])
                except OSError as error:
                    failure = failure or error
                else:
                    self._unwritten.discard(host)
                    self._unlisted.difference_update(self.of(host))
            if failure is not None:
                raise failure

    def _changed(self, hosts: Iterable[int]) -> None:
        self._unwritten.update(hosts)
        self.write()
