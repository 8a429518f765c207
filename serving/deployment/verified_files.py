"""Gets a version's verified files: from this node's cache, else from the registry. Blocks; call from a thread."""

from __future__ import annotations

import msgspec

from serving.deployment.spec import VersionSpec
from serving.protocol.errors import ErrorKind, ServingError
from serving.registry.artifact import Artifact
from serving.registry.assembly import open_cached
from serving.registry.cache import ArtifactCache
from serving.registry.options import parse_options


def open_version(spec: VersionSpec, cache: ArtifactCache) -> Artifact:
    """Find the files of a version on this machine, verified; fetch them when they are not here.

    They are kept from eviction until `cache` is closed: the model may read them for as long as it is served.

    Raises:
        ServingError: no such version, or it is not what it was registered as.
        RegistryUnavailable: it is not here and the registry cannot be reached.
    """
    cached = open_cached(cache, spec.model, spec.version)
    if cached is None:
        _fetch(spec)
        cached = open_cached(cache, spec.model, spec.version)
    if cached is None:
        message = f"{spec.model} version {spec.version} was evicted from the cache at once: raise cache_max_bytes"
        raise ServingError(ErrorKind.UNAVAILABLE, message)
    return msgspec.structs.replace(cached, options=parse_options(spec.tags))


def _fetch(spec: VersionSpec) -> None:
    from serving.registry.registry import Registry

    registry = Registry.open(
        spec.registry_uri,
        state_dir=spec.state_dir,
        allowed_folders=spec.allowed_folders,
        reach=spec.reach,
        cache_max_bytes=spec.cache_max_bytes,
    )
    try:
        registry.fetch(registry.resolve(spec.model, spec.version))
    finally:
        registry.close()
