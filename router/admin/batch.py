"""Several policies changed in one write: all of them or none."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Header, Query

from router.admin.alias_pinning import pinned
from router.admin.freeze import require_thawed
from router.admin.guard import GuardedRoute
from router.admin.impact import estimate_impact
from router.admin.operations import Role
from router.admin.policies import read_policy
from router.admin.problems import Problem
from router.admin.readiness import require_known, require_ready
from router.admin.representations import show_policy, split_reason
from router.admin.services import Actor, Ports, Services
from router.policy.document import Name, Policy
from router.policy.validation import field_error
from router.ports import PolicyChange
from serving.protocol.errors import ServingError

router = APIRouter(prefix="/admin/v1", tags=["policies"], route_class=GuardedRoute)

_STABLE = {"variants": [{"name": "stable", "version": 4, "weight": 10_000}]}
_EXAMPLE = {
    "changes": [
        {"model": "flight-delay", "revision": 3, "policy": _STABLE},
        {"model": "old-model", "revision": 8, "policy": None},
    ],
    "reason": "release 12",
}


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model's part of the body."""

    model: Name
    revision: Annotated[int, msgspec.Meta(ge=0)]
    """The revision that is changed; 0 for a model without policy."""
    policy: dict[str, Any] | None = None
    """The new document; null removes."""


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body."""

    changes: Annotated[tuple[Entry, ...], msgspec.Meta(min_length=1, max_length=1000)]


@router.post("/policies:batch")
async def change_policies(
    body: Annotated[dict[str, Any], Body(examples=[_EXAMPLE])],
    ports: Ports,
    caller: Actor,
    x_shepherd_reason: Annotated[str | None, Header(description="Reason; takes precedence over the body's.")] = None,
    *,
    dry_run: Annotated[bool, Query(description="Check everything except readiness, and change nothing.")] = False,
    force: Annotated[
        bool, Query(description="Also raise a version that was just rolled back for hard failures.")
    ] = False,
) -> dict[str, Any]:
    """Change the policies of several models at once, each based on the revision that the writer has read."""
    document, reason = split_reason(body, x_shepherd_reason)
    changes = await _parse(ports, document)
    if any(change.policy is None for change in changes) and caller.role < Role.ADMIN:
        raise Problem("forbidden", "removing a policy requires the role admin")
    policies = [change.policy for change in changes if change.policy is not None]
    for policy in policies:
        stored = await ports.store.get(policy.model)
        await require_thawed(ports, stored.policy if stored else None, policy, force=force)
    if dry_run:
        return {"dry_run": True, "changes": [await _preview(ports, change) for change in changes]}
    await asyncio.gather(*(require_ready(ports.versions, policy, ports.ready_timeout_s) for policy in policies))
    written = await ports.store.write(changes, actor=caller.name, reason=reason, at=ports.clock())
    return {
        "policies": [show_policy(stored) for stored in written if stored is not None],
        "removed": [change.model for change, stored in zip(changes, written, strict=True) if stored is None],
    }


async def _preview(ports: Services, change: PolicyChange) -> dict[str, Any]:
    stored = await ports.store.get(change.model)
    shown: dict[str, Any] = {"model": change.model, "replaces": stored.revision if stored else 0}
    if change.policy is None:
        return shown | {"removes": stored is not None}
    await require_known(ports.versions, change.policy)
    return shown | {"impact": await estimate_impact(ports, stored.policy if stored else None, change.policy)}


async def _parse(ports: Services, document: dict[str, Any]) -> list[PolicyChange]:
    try:
        batch = msgspec.convert(document, Batch)
    except msgspec.ValidationError as error:
        raise field_error(str(error), "body") from None
    return [
        PolicyChange(entry.model, await _policy(ports, index, entry), entry.revision)
        for index, entry in enumerate(batch.changes)
    ]


async def _policy(ports: Services, index: int, entry: Entry) -> Policy | None:
    if entry.policy is None:
        return None
    document = await pinned(ports, entry.model, dict(entry.policy))
    try:
        return read_policy(entry.model, document)
    except ServingError as error:
        raise Problem("invalid-request", f"changes[{index}].policy.{error.message}") from None
