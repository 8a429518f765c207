"""What a write would do, told before it is done."""

from __future__ import annotations

from typing import Any

from router.policy.document import Policy, versions_of
from router.policy.impact import moved_share
from router.ports import VersionManager


async def foresee(versions: VersionManager, before: Policy | None, after: Policy) -> dict[str, Any]:
    """Tell which share of the keys moves, which versions must be loaded, and what that takes as far as it is known.

    Without a policy before, every key moves: from nowhere.
    """
    statuses = {status.version: status for status in await versions.versions() if status.model == after.model}
    named = versions_of(after)
    to_load = [version for version in named if version not in statuses or not statuses[version].serves]
    sizes = {version: statuses[version].lineage.get("bytes") for version in to_load if version in statuses}
    left = [version for version in (versions_of(before) if before else ()) if version not in named]
    return {
        "moved_share": moved_share(before, after) if before else 1.0,
        "versions_to_load": to_load,
        "versions_no_longer_named": left,
        "model_bytes": sum(size for size in sizes.values() if size),
        "model_bytes_unknown_of": [version for version, size in sizes.items() if not size],
    }
