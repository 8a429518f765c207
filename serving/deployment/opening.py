"""Gets a version's verified files: from this node's cache, else from the registry. Blocks; call from a thread."""

from __future__ import annotations

import msgspec

from serving.deployment.spec import VersionSpec
from serving.registry.artifact import Artifact
from serving.registry.assembly import open_cached
from serving.registry.cache import ArtifactCache
from serving.registry.options import parse_options


def open_version(spec: VersionSpec) -> Artifact:
    """Find the files of a version on this machine, verified; fetch them when they are not here.

    Raises:
        ServingError: no such version, or it is not what it was registered as.
        RegistryUnavailable: it is not here and the registry cannot be reached.
    """
    cached = open_cached(ArtifactCache(spec.state_dir / "cache"), spec.model, spec.version)
    if cached is not None:
        return msgspec.structs.replace(cached, options=parse_options(spec.tags))
    from serving.registry.registry import Registry

    registry = Registry.open(spec.registry_uri, state_dir=spec.state_dir)
    return registry.fetch(registry.resolve(spec.model, spec.version))
