"""Where versions come from: the registry as the control process uses it, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from router.control.specs import reach_of
from router.settings import Settings
from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.artifact import VersionInfo
from serving.registry.cache import ArtifactCache, CachedVersion

if TYPE_CHECKING:
    from serving.registry.registry import Registry

#: Threads for questions, which take milliseconds, and for files, which may take minutes: neither waits for the other.
_LOOKUPS: Final = 4
_TRANSFERS: Final = 4
T = TypeVar("T")


class VersionSource(Protocol):
    """Where versions come from."""

    async def resolve(self, model: str, version: int) -> VersionInfo:
        """Find a version; `ServingError(NOT_FOUND)` when there is none."""

    async def fetch(self, model: str, version: int) -> VersionInfo:
        """Have a version's verified files on this machine."""

    async def versions(self) -> Sequence[VersionInfo]:
        """List all versions of all models."""

    async def register(self, name: str, onnx: bytes, *, example: bytes | None, tags: Mapping[str, str]) -> int:
        """Add a version; return its number."""

    def remembered(self, model: str, version: int) -> CachedVersion | None:
        """Say what this node knows of a version without asking."""


class Catalogue:
    """Asynchronous access to one registry.

    Importing an MLflow client takes seconds, so it happens in a thread, and opening is tried anew by each call until it
    succeeds. Every call raises `ServingError(UNAVAILABLE)` while the registry is away and the cache does not help.

    The threads are its own: the default ones, of which Ray Serve leaves this process five, are those that look at
    versions and read the counters by which hard failures are noticed. Neither may wait for a registry.
    """

    def __init__(self, settings: Settings, opener: Callable[[Settings], Registry] | None = None) -> None:
        """Take what opens the registry; None: `open_registry`."""
        self._settings = settings
        self._opener = opener or open_registry
        self._lookups = ThreadPoolExecutor(_LOOKUPS, "registry-lookup")
        self._transfers = ThreadPoolExecutor(_TRANSFERS, "registry-transfer")
        self._registry: Registry | None = None
        self._opening = asyncio.Lock()
        self._cache = ArtifactCache(settings.state_dir / "cache", settings.cache_max_bytes)

    async def open(self) -> None:
        """Open the registry ahead of the first call."""
        await self._call(lambda _: None)

    def close(self) -> None:
        """Refuse what waits, and let what is under way end by itself."""
        for threads in (self._lookups, self._transfers):
            threads.shutdown(wait=False, cancel_futures=True)

    async def resolve(self, model: str, version: int) -> VersionInfo:
        """Find a version; see `Registry.resolve` for what is raised."""
        return await self._call(lambda registry: registry.resolve(model, version))

    async def fetch(self, model: str, version: int) -> VersionInfo:
        """Have a version's verified files on this machine; see `Registry.fetch` for what is raised."""

        def fetch(registry: Registry) -> VersionInfo:
            artifact = registry.fetch(registry.resolve(model, version))
            registry.release(artifact)  # each replica keeps hold of the files itself
            return artifact.info

        return await self._call(fetch, self._transfers)

    async def versions(self) -> Sequence[VersionInfo]:
        """List all versions of all models."""

        def list_all(registry: Registry) -> list[VersionInfo]:
            return [info for model in registry.list_models() for info in registry.list_versions(model.name)]

        return await self._call(list_all)

    async def versions_of(self, model: str) -> Sequence[VersionInfo]:
        """List the versions of one model; empty when there is no such model."""
        return await self._call(lambda registry: registry.list_versions(model))

    async def register(self, name: str, onnx: bytes, *, example: bytes | None, tags: Mapping[str, str]) -> int:
        """Add a version; see `Registry.register` for what is raised."""
        return await self._call(lambda registry: registry.register(name, onnx or None, example, tags), self._transfers)

    async def aliased(self, model: str, alias: str) -> int:
        """Find the version that an alias points to; see `Registry.resolve` for what is raised."""
        return await self._call(lambda registry: registry.resolve(model, f"@{alias}").version)

    async def model_bytes(self, model: str, version: int) -> int:
        """Say how large a version's model files are; see `Registry.model_bytes` for what is raised."""
        return await self._call(lambda registry: registry.model_bytes(model, version))

    async def name(self, model: str, alias: str, version: int, tags: Mapping[str, str]) -> None:
        """Let an alias point to a version, and write down with the version why."""

        def write(registry: Registry) -> None:
            registry.write_tags(model, version, tags)
            registry.set_alias(model, alias, version)

        await self._call(write)

    async def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Write down with a version what became of it."""
        await self._call(lambda registry: registry.write_tags(model, version, tags))

    def remembered(self, model: str, version: int) -> CachedVersion | None:
        """Say what this node knows of a version without asking the registry; reads one small file."""
        return self._cache.remembered(model, version)

    async def _call(self, function: Callable[[Registry], T], threads: ThreadPoolExecutor | None = None) -> T:
        loop = asyncio.get_running_loop()
        async with self._opening:
            if self._registry is None:
                self._registry = await loop.run_in_executor(
                    self._lookups, _reaching, lambda: self._opener(self._settings)
                )
        registry = self._registry
        return await loop.run_in_executor(threads or self._lookups, _reaching, lambda: function(registry))


def open_registry(settings: Settings) -> Registry:
    """Open the registry that the settings name; slow at first, since an MLflow client is imported."""
    from serving.registry.isolated_recording import record_apart
    from serving.registry.registry import Registry

    return Registry.open(
        settings.registry_uri,
        state_dir=settings.state_dir,
        allowed_folders=[Path(folder) for folder in settings.registry_allowed_folders],
        reach=reach_of(settings),
        recorder=record_apart,
        cache_max_bytes=settings.cache_max_bytes,
    )


def _reaching(function: Callable[[], T]) -> T:
    """Call, and translate the one failure whose type only the slow import knows."""
    from serving.registry.mlflow import RegistryUnavailable

    try:
        return function()
    except RegistryUnavailable as error:
        raise ServingError(ErrorKind.UNAVAILABLE, str(error)) from error
