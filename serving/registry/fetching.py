"""Brings versions to this machine: download, verify, complete, keep.

A download lands in a fresh folder and moves into the cache by one rename, once its digest is found to be the registered
one. A version that came without digest or golden example gets both at its first fetch; they are written back to the
registry where it lets us, and remembered here in any case.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from serving.backends.outgoing import Reach
from serving.protocol.errors import ServingError, invalid
from serving.registry.artifact import PROFILE, Artifact, VersionInfo, is_model_file
from serving.registry.assembly import assemble, origin_of
from serving.registry.cache import ArtifactCache
from serving.registry.digest import file_digest, file_digests, model_digest
from serving.registry.golden import Golden
from serving.registry.golden_json import golden_digest
from serving.registry.golden_recording import Recorder, read_golden, write_golden
from serving.registry.mlflow import MlflowStore, RegistryUnavailable
from serving.registry.model_files import find_model
from serving.registry.options import (
    GOLDEN_SHA256_TAG,
    GOLDEN_TAG,
    PROFILE_TAG,
    RECORDED_TAGS,
    SHA256_TAG,
    parse_options,
)


class Fetcher:
    """Fetches versions from a store into a cache."""

    def __init__(self, store: MlflowStore, cache: ArtifactCache, reach: Reach, recorder: Recorder) -> None:
        self._store = store
        self._cache = cache
        self._reach = reach
        self._record = recorder

    def fetch(self, info: VersionInfo) -> Artifact:
        """Bring a version here; see `Registry.fetch`."""
        cached = self._cache.remembered(info.model, info.version)
        folder = self._cache.open(cached) if cached and _is_same(cached.info, info) else None
        if cached and folder:
            return assemble(_completed(info, cached.info.tags), folder, cached.lineage)
        return self._download(info)

    def attach_golden(self, info: VersionInfo, example: bytes | None) -> None:
        """Record an example for a version and add it to the version's files; see `Registry.record_golden`."""
        with self._cache.staging_folder() as folder:
            self._store.download(info, folder)
            _verify_model(info, folder)
            golden = self._record(folder, info.tags, example, self._reach).golden
            self._publish(info, golden, recorded_tags(folder, golden))

    def attach_profile(self, info: VersionInfo, document: bytes) -> None:
        """Add a reference profile to a version's files; see `Registry.attach_profile`."""
        digest = hashlib.sha256(document).hexdigest()
        attached = info.tags.get(PROFILE_TAG)
        if attached == digest:
            return
        if attached is not None:
            raise invalid(
                f"{info.model} version {info.version} has another reference profile ({attached}); what belongs to a"
                " version stays as it is: register a new version for a new profile"
            )
        with self._cache.staging_folder() as addition:
            path = addition / PROFILE
            path.parent.mkdir()
            path.write_bytes(document)
            self._store.upload(info, addition)
        self._store.set_tags(info.model, info.version, {PROFILE_TAG: digest})

    def _download(self, info: VersionInfo) -> Artifact:
        parse_options(info.tags)
        with self._cache.staging_folder() as folder:
            self._store.download(info, folder)
            _verify_model(info, folder)
            _verify_golden(info, folder)
            _verify_profile(info, folder)
            files = find_model(folder)
            tags = {SHA256_TAG: model_digest(file_digests(folder))}
            if read_golden(folder, origin_of(info)) is None:
                recorded = self._record(folder, info.tags, None, self._reach).golden
                golden = msgspec.structs.replace(recorded, origin="self-recorded")
                write_golden(folder, golden)
                tags = recorded_tags(folder, golden)
                with contextlib.suppress(RegistryUnavailable, ServingError):  # a registry may be read-only to us
                    self._publish(info, golden, tags)
            elif SHA256_TAG not in info.tags:
                with contextlib.suppress(RegistryUnavailable, ServingError):
                    self._store.set_tags(info.model, info.version, tags)
            lineage = self._lineage(info, files.opsets, tags[SHA256_TAG]) | {"bytes": _model_bytes(folder)}
            completed = _completed(info, tags)
            return assemble(completed, self._cache.add(folder, completed, lineage), lineage)

    def _publish(self, info: VersionInfo, golden: Golden, tags: Mapping[str, str]) -> None:
        with self._cache.staging_folder() as addition:
            write_golden(addition, golden)
            self._store.upload(info, addition)
        self._store.set_tags(info.model, info.version, tags)

    def _lineage(self, info: VersionInfo, opsets: Mapping[str, int], sha256: str) -> dict[str, Any]:
        known = {"run_id": info.run_id, "source": info.source, "sha256": sha256, "opset": dict(opsets)}
        with contextlib.suppress(RegistryUnavailable, ServingError):  # a run may be deleted, its version lives on
            known |= self._store.lineage(info)
        return known


def _model_bytes(folder: Path) -> int:
    files = (path for path in folder.rglob("*") if path.is_file() and is_model_file(path.name))
    return sum(path.stat().st_size for path in files)


def recorded_tags(folder: Path, golden: Golden) -> dict[str, str]:
    """Make the tags that the registry keeps of a version's files, its golden example among them."""
    return {
        SHA256_TAG: model_digest(file_digests(folder)),
        GOLDEN_TAG: golden.origin,
        GOLDEN_SHA256_TAG: golden_digest(golden),
    }


def _verify_model(info: VersionInfo, folder: Path) -> None:
    registered, found = info.tags.get(SHA256_TAG), model_digest(file_digests(folder))
    if registered is not None and found != registered:
        raise _refused(info, "model", found, registered)


def _verify_golden(info: VersionInfo, folder: Path) -> None:
    registered = info.tags.get(GOLDEN_SHA256_TAG)
    if registered is None:
        return
    golden = read_golden(folder, origin_of(info))
    found = golden_digest(golden) if golden else "none"
    if found != registered:
        raise _refused(info, "golden example", found, registered)


def _verify_profile(info: VersionInfo, folder: Path) -> None:
    attached, path = info.tags.get(PROFILE_TAG), folder / PROFILE
    if attached is None:
        return
    found = file_digest(path) if path.is_file() else "none"
    if found != attached:
        raise _refused(info, "reference profile", found, attached)


def _refused(info: VersionInfo, what: str, found: str, registered: str) -> ServingError:
    return invalid(
        f"{info.model} version {info.version} is refused: the sha256 of its {what} is {found}, registered was"
        f" {registered}. Its files were changed or damaged after registration: register them as a new version"
    )


def _is_same(cached: VersionInfo, listed: VersionInfo) -> bool:
    """Tell whether what is cached is what the registry lists: a model may be deleted and registered anew."""
    return (cached.run_id, cached.created_at) == (listed.run_id, listed.created_at) and all(
        listed.tags.get(tag, cached.tags.get(tag)) == cached.tags.get(tag) for tag in RECORDED_TAGS
    )


def _completed(info: VersionInfo, recorded: Mapping[str, str]) -> VersionInfo:
    """Add what we recorded to a version whose registry could not be written to."""
    added = {tag: recorded[tag] for tag in RECORDED_TAGS & recorded.keys() if tag not in info.tags}
    return msgspec.structs.replace(info, tags={**info.tags, **added})
