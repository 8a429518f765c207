"""Keeps fetched versions on disk: by digest, bounded, verified at each use, shared by the processes of a node.

Layout of the folder, all of it for the owner only:

    artifacts/<digest>/...          a version's files, read-only; the name is their `tree_digest`
    versions/<model>@<version>.json what the registry said of the version, and which digest holds its files
    locks/<digest>                  held shared by each process that uses the files, so that no other evicts them
    staging/                        downloads under way; what is whole moves to `artifacts` by one rename

Pins are kernel locks: a process that dies lets go of what it used. Eviction takes the least recently used first and may
stay above the bound when everything is in use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from serving.registry.artifact import VersionInfo, check_name
from serving.registry.digest import file_digests, tree_digest

DEFAULT_MAX_BYTES: Final = 20 * 1024**3
_ABANDONED_S: Final = 24 * 3600.0


class CachedVersion(msgspec.Struct, frozen=True):
    """What is remembered of a version, so that it can be served while the registry is away."""

    info: VersionInfo
    digest: str
    lineage: dict[str, Any]


class ArtifactCache:
    """A node's cache of versions; any number of processes may use one folder."""

    def __init__(self, folder: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._artifacts = folder / "artifacts"
        self._versions = folder / "versions"
        self._locks = folder / "locks"
        self._staging = folder / "staging"
        self._max_bytes = max_bytes
        self._pins: defaultdict[str, list[IO[bytes]]] = defaultdict(list)
        """Locks held by this process: one for each use that has not been released."""
        for part in (folder, self._artifacts, self._versions, self._locks, self._staging):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clear_abandoned_downloads()

    @contextlib.contextmanager
    def staging_folder(self) -> Iterator[Path]:
        """Lend a fresh folder on the cache's file system; what `add` has not taken from it is removed."""
        folder = Path(tempfile.mkdtemp(dir=self._staging))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, folder: Path, info: VersionInfo, lineage: dict[str, Any]) -> Path:
        """Take a staged folder in as the files of a version, pin it, and make room; return where it lies now."""
        digest = tree_digest(file_digests(folder))
        target = self._artifacts / digest
        self._pin(digest)
        for path in folder.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o400)
        if not self._is_whole(digest):
            shutil.rmtree(target, ignore_errors=True)
            self._move(folder, target)
        self._remember(CachedVersion(info, digest, lineage))
        self._evict()
        return target

    def remembered(self, model: str, version: int) -> CachedVersion | None:
        """Say what is known of a version, whether or not its files are still here."""
        path = self._version_file(model, version)
        try:
            return msgspec.json.decode(path.read_bytes(), type=CachedVersion)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def open(self, cached: CachedVersion) -> Path | None:
        """Pin and verify a version's files; None, and removed, when they are not what they were."""
        target = self._artifacts / cached.digest
        self._pin(cached.digest)
        if self._is_whole(cached.digest):
            os.utime(target)
            return target
        self._unpin(cached.digest)
        shutil.rmtree(target, ignore_errors=True)
        return None

    def size_bytes(self, cached: CachedVersion) -> int:
        """Measure a version's files; 0 when they are not here."""
        return _size(self._artifacts / cached.digest)

    def release(self, folder: Path) -> None:
        """Let go of files that `add` or `open` has pinned, so that they may be evicted; once for each use."""
        self._unpin(folder.name)

    def close(self) -> None:
        """Let go of everything."""
        for locks in self._pins.values():
            for lock in locks:
                lock.close()
        self._pins.clear()

    def _is_whole(self, digest: str) -> bool:
        folder = self._artifacts / digest
        return folder.is_dir() and tree_digest(file_digests(folder)) == digest

    @staticmethod
    def _move(folder: Path, target: Path) -> None:
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():  # else another process has just brought the same files
                raise

    def _remember(self, cached: CachedVersion) -> None:
        path = self._version_file(cached.info.model, cached.info.version)
        with tempfile.NamedTemporaryFile(dir=self._staging, delete=False) as file:
            file.write(msgspec.json.encode(cached))
        Path(file.name).rename(path)

    def _version_file(self, model: str, version: int) -> Path:
        return self._versions / f"{check_name(model)}@{version}.json"

    def _pin(self, digest: str) -> None:
        lock = (self._locks / digest).open("ab")
        fcntl.flock(lock, fcntl.LOCK_SH)  # waits while another process evicts these very files
        self._pins[digest].append(lock)

    def _unpin(self, digest: str) -> None:
        locks = self._pins[digest]
        if locks:
            locks.pop().close()

    def _evict(self) -> None:
        """Remove the least recently used files that nobody has pinned, until the bound holds."""
        entries = sorted(self._artifacts.iterdir(), key=lambda path: path.stat().st_mtime)
        sizes = {path: _size(path) for path in entries}
        excess = sum(sizes.values()) - self._max_bytes
        for path in entries:
            if excess <= 0:
                return
            with (self._locks / path.name).open("ab") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(path, ignore_errors=True)
                excess -= sizes[path]

    def _clear_abandoned_downloads(self) -> None:
        """Remove what processes that died have left in the staging folder."""
        for path in self._staging.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    shutil.rmtree(path, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
