"""What a write would do, told before it is done."""

from __future__ import annotations

from typing import Any

from router.admin.services import Services
from router.policy.document import Policy, versions_of
from router.policy.impact import moved_share
from serving.protocol.errors import ServingError


async def estimate_impact(ports: Services, before: Policy | None, after: Policy) -> dict[str, Any]:
    """Tell which share of the keys moves, which versions must be loaded, and how large these are.

    Without a policy before, every key moves: from nowhere. A model in memory takes at least its files' size, on each of
    its replicas; which versions' size the registry could not tell is said, too.
    """
    statuses = {status.version: status for status in await ports.versions.versions() if status.model == after.model}
    named = versions_of(after)
    to_load = [version for version in named if version not in statuses or not statuses[version].serves]
    sizes = {version: await _size(ports, after.model, version) for version in to_load}
    left = [version for version in (versions_of(before) if before else ()) if version not in named]
    return {
        "moved_share": moved_share(before, after) if before else 1.0,
        "versions_to_load": to_load,
        "versions_no_longer_named": left,
        "model_bytes": sum(size for size in sizes.values() if size is not None),
        "model_bytes_unknown_of": [version for version, size in sizes.items() if size is None],
    }


async def _size(ports: Services, model: str, version: int) -> int | None:
    try:
        return await ports.registry.model_bytes(model, version)
    except ServingError:
        return None
