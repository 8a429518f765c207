"""Back to an earlier policy: to the last good one in one call, or to any by its number."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Body, Header, Query, Response
from fastapi.responses import JSONResponse

from router.admin.guard import GuardedRoute
from router.admin.impact import estimate_impact
from router.admin.preconditions import entity_tag
from router.admin.problems import Problem
from router.admin.readiness import require_ready
from router.admin.representations import show_policy, split_reason
from router.admin.rollouts import abort
from router.admin.services import Actor, ModelName, Ports, Services
from router.policy.document import VersionNumber
from router.policy.history import find_revision, last_good
from router.ports import PolicyChange, StoredPolicy
from router.rollout.phase import Phase

router = APIRouter(prefix="/admin/v1/policies", tags=["policies"], route_class=GuardedRoute)

Reason = Annotated[
    str | None, Header(alias="x-shepherd-reason", description="Reason; takes precedence over the body's.")
]
DryRun = Annotated[bool, Query(description="Show the effect and change nothing.")]
#: How long the answer waits for the controller to give a rollout's traffic back; it takes milliseconds.
_ABORT_S: Final = 5.0
_LOOK_S: Final = 0.02


@router.post("/{model}/rollback")
async def rollback_policy(
    model: ModelName,
    body: Annotated[dict[str, Any], Body(examples=[{"reason": "customers complain"}])],
    ports: Ports,
    caller: Actor,
    reason: Reason = None,
    *,
    dry_run: DryRun = False,
) -> Response:
    """Restore the last good policy: during a rollout the one from before it, else from before the newest version."""
    _, why = split_reason(body, reason)
    revisions = await ports.store.revisions(model)
    rollout = await ports.rollouts.store.get(model)
    if rollout is not None and not rollout.is_over and rollout.phase is not Phase.PENDING and not dry_run:
        await abort(ports, model, caller.name, why)
        return _answer(await _given_back(ports, model))
    good = last_good(revisions)
    if good is None:
        raise Problem("conflict", f"{model} has no earlier policy to restore")
    return await _restore(ports, model, good, caller.name, why, action="policy.rollback", dry_run=dry_run)


@router.post("/{model}/undo")
async def undo_policy(
    model: ModelName,
    body: Annotated[dict[str, Any], Body(examples=[{"revision": 7, "reason": "as it was on Monday"}])],
    ports: Ports,
    caller: Actor,
    reason: Reason = None,
    *,
    dry_run: DryRun = False,
) -> Response:
    """Restore the policy of `revision`, by default the one before the last write."""
    _, why = split_reason(body, reason)
    revisions = await ports.store.revisions(model)
    if "revision" in body:
        target = find_revision(revisions, _revision_of(body))
    elif await ports.store.get(model) is None:
        target = revisions[-1] if revisions else None
    else:
        target = revisions[-2] if len(revisions) > 1 else None
    if target is None:
        kept = (
            f"revisions {revisions[0].revision} to {revisions[-1].revision} are kept"
            if revisions
            else "it never had a policy"
        )
        raise Problem("not-found", f"{model} has no such revision; {kept}")
    return await _restore(ports, model, target, caller.name, why, action="policy.undo", dry_run=dry_run)


async def _restore(
    ports: Services, model: str, target: StoredPolicy, actor: str, reason: str, *, action: str, dry_run: bool
) -> Response:
    """Write an earlier policy once more, as a revision of its own."""
    current = await ports.store.get(model)
    if dry_run:
        impact = await estimate_impact(ports, current.policy if current else None, target.policy)
        return JSONResponse(show_policy(target) | {"dry_run": True, "impact": impact})
    await require_ready(ports.versions, target.policy, ports.ready_timeout_s)
    change = PolicyChange(model, target.policy, current.revision if current else 0, target.revision, action)
    (stored,) = await ports.store.write([change], actor=actor, reason=reason, at=ports.clock())
    assert stored is not None, "a policy was written"
    return _answer(stored)


async def _given_back(ports: Services, model: str) -> StoredPolicy:
    """Wait until the traffic of an aborted rollout is back where it was.

    Raises:
        Problem: 503, the controller has not done it yet.
    """
    for _ in range(round(_ABORT_S / _LOOK_S)):
        rollout = await ports.rollouts.store.get(model)
        stored = await ports.store.get(model)
        if stored is not None and (rollout is None or rollout.is_over):
            return stored
        await asyncio.sleep(_LOOK_S)
    raise Problem(
        "unavailable",
        f"the rollback of {model} is accepted, but the controller has not finished it yet",
        headers={"Retry-After": "1"},
    )


def _revision_of(body: dict[str, Any]) -> int:
    try:
        return msgspec.convert(body["revision"], VersionNumber)
    except msgspec.ValidationError:
        raise Problem("invalid-request", "revision: must be a number from /revisions", field="revision") from None


def _answer(stored: StoredPolicy) -> JSONResponse:
    return JSONResponse(show_policy(stored), 200, {"ETag": entity_tag(stored.revision)})
