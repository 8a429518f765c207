"""Brings a guest's model into the host's memory, as verified, proven and warm as in a process of its own."""

from __future__ import annotations

import asyncio
import ctypes
from pathlib import Path

import msgspec

from serving.deployment.admission import fit
from serving.deployment.finite_outputs import watch_outputs
from serving.deployment.health_check import HealthCheck
from serving.deployment.hosting.crash_marks import Mark, Marks
from serving.deployment.hosting.host_files import Guest, guest_name
from serving.deployment.hosting.marked_backend import MarkedBackend
from serving.deployment.loaded_model import LoadedModel
from serving.deployment.loading import agreement, batch_limits, load_proven, unbatched_because
from serving.deployment.replica_meters import ReplicaMeters
from serving.deployment.spec import VersionSpec
from serving.deployment.verified_files import open_version
from serving.registry.artifact import Artifact
from serving.registry.cache import ArtifactCache
from serving.registry.options import AUTO
from serving.telemetry.instruments import Registry


class LoadedGuest:
    """A guest's model in memory; fits `guest_server.Loaded`."""

    def __init__(self, model: LoadedModel, health_check: HealthCheck, loader: GuestLoader, spec: VersionSpec) -> None:
        self.model = model
        self._health_check = health_check
        self._loader = loader
        self._spec = spec

    async def check(self) -> None:
        """Raise when the model does not answer its example any more; see `HealthCheck.check`."""
        await self._health_check.check(self.model)

    async def close(self) -> None:
        """Give its memory back, as far as the allocator can."""
        await self.model.close()
        self._loader.let_go(self._spec)
        await asyncio.to_thread(give_back_memory)


class GuestLoader:
    """Loads guests, one at a time or several: the host says."""

    def __init__(self, cache: ArtifactCache, registry: Registry, marks: Marks) -> None:
        self._cache = cache
        self._registry = registry
        self._marks = marks
        self._folders: dict[str, Path] = {}
        """Pinned in the cache for as long as they may be read."""

    async def load(self, guest: Guest) -> LoadedGuest:
        """Open, load, prove and warm a guest.

        Raises:
            ServingError, Refused, RegistryUnavailable: it cannot be served; whatever the model's runtime raises.
        """
        spec = guest.spec
        mark = self._marks.claim(guest_name(spec.model, spec.version))
        try:
            return await self._load(spec, mark)
        except BaseException:
            self.let_go(spec)
            raise

    def let_go(self, spec: VersionSpec) -> None:
        """Release a guest's mark and files."""
        name = guest_name(spec.model, spec.version)
        self._marks.release(name)
        if folder := self._folders.pop(name, None):
            self._cache.release(folder)

    async def _load(self, spec: VersionSpec, mark: Mark) -> LoadedGuest:
        artifact = await asyncio.to_thread(open_version, spec, self._cache)
        self._folders[guest_name(spec.model, spec.version)] = artifact.dir
        options = await asyncio.to_thread(fit, _on_one_core(artifact), spec)
        fitted = msgspec.structs.replace(artifact, options=options)
        mark.set()
        try:
            backend, findings = await asyncio.to_thread(load_proven, fitted, spec.reach)
            meters = ReplicaMeters(self._registry, spec.model, spec.version)
            health_check = HealthCheck(artifact, meters)
            model = LoadedModel(
                watch_outputs(MarkedBackend(backend, mark), meters.nonfinite),
                limits=batch_limits(artifact.options),
                on_run=health_check.on_run,
                agrees=agreement(artifact),
                unbatched_because=unbatched_because(findings),
                are_shadows_apart=False,
            )
            await model.start(artifact.golden.inputs)
        finally:
            mark.clear()
        return LoadedGuest(model, health_check, self, spec)


def _on_one_core(artifact: Artifact) -> Artifact:
    """Leave threads aside that nobody has asked for: each guest would have its own."""
    if artifact.options.threads != AUTO:
        return artifact
    return msgspec.structs.replace(artifact, options=msgspec.structs.replace(artifact.options, threads=1))


def give_back_memory() -> None:
    """Return freed pages to the kernel: glibc keeps those between two allocations that live on."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
