"""Runs versions in processes of their own or, small ones, as guests of shared hosts; fits `Fleet`.

To the reconciler a guest is a version like any other: it is deployed, is ready or has failed, is deleted. That it is
cold for most of the time is its host's business, which loads it for the next request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from router.control.fleet import Processes, Watch
from router.control.guests import Guests
from router.control.reconciler import VersionKey
from router.control.specs import HostMaker, host_bounds, host_maker, sharing_rules
from router.layout import Layout
from router.settings import Settings
from serving.channel.endpoint import Endpoint
from serving.deployment.hosting.candidates import Candidates
from serving.deployment.hosting.host_files import GuestReport, HostFiles, HostReport, guest_name
from serving.deployment.hosting.host_watches import HostWatches
from serving.deployment.hosting.validation_cache import ValidationCache
from serving.deployment.spec import VersionSpec
from serving.deployment.status import AppPhase, AppStatus, GuestStatus
from serving.registry.cache import ArtifactCache
from serving.telemetry.failure_log import FailureLog

_STARTING: Final = AppStatus(AppPhase.LOADING, "its host starts")
_LOADING: Final = "its host loads it: a version that is compared with others may not be cold"
_MOVING: Final = "it was at work when its host died, and moves to a process of its own"
_log = logging.getLogger(__name__)


class HostedFleet:
    """Processes of versions and of hosts, and which guest is where."""

    def __init__(
        self,
        processes: Processes,
        candidates: Candidates,
        guests: Guests,
        files: HostFiles,
        make_host: HostMaker,
    ) -> None:
        self._processes = processes
        self._candidates = candidates
        self._guests = guests
        self._files = files
        self._make_host = make_host
        self._watches = HostWatches(processes.watch_app)
        self._trials = ThreadPoolExecutor(1, "trial")
        """A trial is a process that loads a model, for up to a minute: one at a time, and apart from other threads."""
        self._isolating = FailureLog(_log, "Moving versions out of the shared host that they took down")
        self._failed_hosts: set[int] = set()
        self._notes: dict[VersionKey, str] = {}
        """Of versions with processes of their own: why, if they might share. Looked up once for each."""
        self.reports: Mapping[int, HostReport] = {}
        """What each host last said of itself."""

    async def deploy(self, specs: Sequence[VersionSpec]) -> None:
        """Start versions, or add them to a host.

        Raises:
            ServingError: INVALID, one that was to be a guest does not load.
        """
        for spec in specs:
            if await asyncio.to_thread(self._candidates.why_own, spec):
                await self._processes.deploy([spec])
                continue
            loop = asyncio.get_running_loop()
            self._guests.add(await loop.run_in_executor(self._trials, self._candidates.examine, spec))
            host = self._guests.hosted_endpoint((spec.model, spec.version)).host
            if host in self._failed_hosts:
                self._failed_hosts.discard(host)
                await self._processes.deploy_host(self._make_host(host))

    async def delete(self, versions: Iterable[VersionKey]) -> None:
        """Have versions drained and removed; a host without guests ends with the next look."""
        leaving = frozenset(versions)
        guests = leaving & self._guests.keys
        self._guests.remove(guests)
        if own := leaving - guests:
            await self._processes.delete(own)

    async def statuses(self) -> Mapping[VersionKey, AppStatus]:
        """Look at all versions; start hosts that are missing, end those that are empty, move out who took one down."""
        self._guests.write()
        apps = await self._processes.statuses()
        hosts = sorted(self._guests.hosts | apps.hosts.keys())
        self.reports = await asyncio.to_thread(lambda: {host: self._files.read_report(host) for host in hosts})
        with self._isolating.guard():
            await self._isolate()
        await self._adjust(apps.hosts)
        for key in self._guests.kept:
            self._watches.wake_if_down(self._guests.hosted_endpoint(key))
        statuses = {key: app._replace(note=await self._note(key)) for key, app in apps.versions.items()}
        for key in self._guests.keys:
            host = self._guests.hosted_endpoint(key).host
            statuses[key] = self._status(key, host, apps.hosts.get(host))
        return statuses

    def close(self) -> None:
        """Give the threads back; a trial that is under way ends by itself."""
        self._trials.shutdown(wait=False, cancel_futures=True)

    def watch(self, model: str, version: int, on_endpoints: Callable[[Sequence[Endpoint]], None]) -> Watch:
        """Follow the replicas of a version, of which a guest has one: its host."""
        if (model, version) in self._guests.keys:
            return self._watches.watch(self._guests.hosted_endpoint((model, version)), on_endpoints)
        return self._processes.watch(model, version, on_endpoints)

    def keep(self, versions: frozenset[VersionKey]) -> None:
        """Learn which versions may not go cold."""
        self._guests.keep(versions)

    def ask_for(self, model: str, version: int) -> None:
        """Have a guest loaded as if it had had a request."""
        self._guests.ask_for((model, version))
        if (model, version) in self._guests.keys:
            self._watches.wake_if_down(self._guests.hosted_endpoint((model, version)))

    def show(self) -> dict[str, str]:
        """Show the shared hosts to operators, by number."""
        return {str(host): self._in_words(host) for host in sorted(self._guests.hosts)}

    def _in_words(self, host: int) -> str:
        count = len(self._guests.of(host))
        report = self.reports.get(host, HostReport())
        loaded = sum(guest.state == "loaded" for guest in report.guests.values())
        return f"{loaded} of {count} versions loaded, pid {report.pid}" if loaded else f"{count} versions, all cold"

    async def _isolate(self) -> None:
        """Move out those who were at work when their host died: the reconciler starts them again, on their own."""
        for host, report in self.reports.items():
            for key in self._guests.of(host):
                if guest_name(*key) in report.suspects:
                    reason = f"a process of its own, since it was at work when shared host {host} died"
                    _log.warning("%s version %s gets %s", *key, reason)
                    await asyncio.to_thread(self._candidates.isolate, *key, reason)
                    self._guests.remove([key])
                    self._notes.pop(key, None)

    async def _note(self, key: VersionKey) -> str:
        if key not in self._notes:
            self._notes[key] = await asyncio.to_thread(self._candidates.isolation, *key)
        return self._notes[key]

    async def _adjust(self, present: Mapping[int, AppStatus]) -> None:
        """Bring the hosts' processes in line with who has guests."""
        for host in self._guests.hosts - present.keys():
            await self._processes.deploy_host(self._make_host(host))
        for host, app in present.items():
            if host not in self._guests.hosts and app.phase is not AppPhase.DELETING:
                await self._processes.delete_host(host)
            elif app.phase is AppPhase.FAILED:
                self._failed_hosts.add(host)

    def _status(self, key: VersionKey, host: int, app: AppStatus | None) -> AppStatus:
        if app is None or app.phase is AppPhase.DELETING:
            return _STARTING
        if app.phase is AppPhase.FAILED:
            return app
        name, reports = guest_name(*key), self.reports.get(host, HostReport())
        report = reports.guests.get(name, GuestReport("cold"))
        if report.state == "failed":
            return AppStatus(AppPhase.FAILED, report.reason, report.final)
        is_loaded = report.state == "loaded"
        guest = GuestStatus(host, self._guests.hosted_endpoint(key).signature, is_loaded, report.load_s, report.facts)
        waits_for = self._guests.why_unlisted(key) or (_MOVING if name in reports.suspects else "")
        if not waits_for and key in self._guests.kept and not is_loaded:
            waits_for = _LOADING
        return AppStatus(AppPhase.LOADING if waits_for else AppPhase.READY, waits_for, guest=guest)


def hosted_fleet(settings: Settings, layout: Layout, processes: Processes) -> HostedFleet:
    """Build the fleet of a node."""
    files = HostFiles(layout.run_dir)
    cache = ArtifactCache(layout.cache_dir, settings.cache_max_bytes)
    candidates = Candidates(cache, ValidationCache(layout.proofs_dir), sharing_rules(settings))
    guests = Guests(files, host_bounds(settings))
    return HostedFleet(processes, candidates, guests, files, host_maker(settings, layout))
