"""The profile that came with a version, read from the verified files on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from router.drift.profile import MAX_PROFILE_BYTES
from serving.registry.artifact import PROFILE
from serving.registry.cache import ArtifactCache


def attached_profiles(cache_dir: Path) -> Callable[[str, int], bytes | None]:
    """Make the function that gives the bytes of a version's profile; None where it has none."""
    cache = ArtifactCache(cache_dir)

    def read(model: str, version: int) -> bytes | None:
        cached = cache.remembered(model, version)
        if cached is None:
            return None
        try:
            with (cache_dir / "artifacts" / cached.digest / PROFILE).open("rb") as file:
                return file.read(MAX_PROFILE_BYTES + 1)
        except OSError:
            return None

    return read
