"""A control process' fleet without Ray: real trials, lists and reports; only the processes are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from router.control.guests import Guests
from router.control.hosted_fleet import HostedFleet
from router.control.reconciler import VersionKey
from serving.channel.endpoint import Endpoint
from serving.deployment.hosting.candidates import Candidates
from serving.deployment.hosting.host_files import GuestReport, HostFiles, HostReport, guest_name
from serving.deployment.hosting.placement import HostBounds
from serving.deployment.hosting.sharing import SharingRules
from serving.deployment.hosting.validation_cache import ValidationCache
from serving.deployment.spec import HostSpec, VersionSpec
from serving.deployment.status import AppPhase, AppStatus
from tests.data_plane import MODEL
from tests.hosts import HostFolder, host_spec, version_spec
from tests.models import add

READY = AppStatus(AppPhase.READY)
SHARED = {"shepherd.host": "shared"}


class Nothing:
    """A watch that never tells anything, and counts who is woken."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    async def close(self) -> None:
        """Nothing to close."""


class Applications(NamedTuple):
    versions: dict[VersionKey, AppStatus]
    hosts: dict[int, AppStatus]


class MemoryProcesses:
    """Processes that run as soon as they are deployed."""

    def __init__(self) -> None:
        self.apps = Applications({}, {})
        self.sleeper = Nothing()

    async def deploy(self, specs: Sequence[VersionSpec]) -> None:
        self.apps.versions.update({(spec.model, spec.version): READY for spec in specs})

    async def delete(self, versions: Iterable[VersionKey]) -> None:
        for key in versions:
            del self.apps.versions[key]

    async def deploy_host(self, spec: HostSpec) -> None:
        self.apps.hosts[spec.number] = READY

    async def delete_host(self, number: int) -> None:
        del self.apps.hosts[number]

    async def statuses(self) -> Applications:
        return Applications(dict(self.apps.versions), dict(self.apps.hosts))

    def watch(self, model: str, version: int, on_endpoints: Callable[[Sequence[Endpoint]], None]) -> Nothing:
        return Nothing()

    def watch_app(self, app: str, on_endpoints: Callable[[Sequence[Endpoint]], None]) -> Nothing:
        return self.sleeper


class Bench:
    """A fleet on a folder with registered versions; made again on the same folder, it is a successor."""

    def __init__(self, folder: Path, rules: SharingRules | None = None) -> None:
        self.host_folder = HostFolder(folder)
        self.folder = folder
        self.processes = MemoryProcesses()
        self.files = HostFiles(folder)
        self.proofs = ValidationCache(folder / "proofs")
        candidates = Candidates(self.host_folder.cache, self.proofs, rules or SharingRules())
        self.guests = Guests(self.files, HostBounds(10, 1 << 30))
        self.fleet = HostedFleet(self.processes, candidates, self.guests, self.files, self.specify)

    def specify(self, number: int) -> HostSpec:
        return msgspec.structs.replace(host_spec(self.folder), number=number)

    async def deploy(self, version: int, tags: Mapping[str, str]) -> None:
        """Register a version, and have it deployed."""
        self.host_folder.register(version, add(float(version)), tags=tags)
        await self.fleet.deploy([version_spec(self.folder, MODEL, version, tags)])

    def report(self, host: int, state: GuestReport, *, suspects: Sequence[int] = (), version: int = 1) -> None:
        """Speak for a host."""
        names = tuple(guest_name(MODEL, each) for each in suspects)
        self.files.write_report(host, HostReport(4242, {guest_name(MODEL, version): state}, names))
