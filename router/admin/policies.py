"""Traffic policies over HTTP: read, replace, patch, remove, look back, explain.

Every write brings a precondition (`If-Match` or `If-None-Match: *`) and a reason. The order of a write is: is the
document right, does the revision still stand, are all its versions ready, and only then the compare-and-set, which has
the last word when two writers got that far together.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Body, Depends, Header, Query, Response
from fastapi.responses import JSONResponse

from router.admin.alias_pinning import pinned
from router.admin.freeze import require_thawed
from router.admin.guard import GuardedRoute
from router.admin.impact import estimate_impact
from router.admin.preconditions import Precondition, entity_tag, parse_precondition
from router.admin.problems import Problem
from router.admin.readiness import require_known, require_ready
from router.admin.representations import merge_patch, show_policy, split_reason
from router.admin.services import Actor, ModelName, Ports, Services
from router.policy.document import Policy, parse_policy, to_document
from router.ports import StoredPolicy

router = APIRouter(prefix="/admin/v1/policies", tags=["policies"], route_class=GuardedRoute)

_EXAMPLE = {
    "sticky": {"by": "header", "name": "x-user-id"},
    "variants": [
        {"name": "stable", "version": 3, "weight": 9500},
        {"name": "canary", "version": 4, "weight": 500},
    ],
    "shadows": [{"version": 5, "sample": 2000}],
    "reason": "first 5 % for version 4",
}
Document = Annotated[dict[str, Any], Body(examples=[_EXAMPLE])]
IfNoneMatch = Annotated[str | None, Header(description="`*` to create a policy if there is none.")]


class Intent(NamedTuple):
    """Who writes, from which state of things, why (when the header says so), whether only to try, or at any price."""

    actor: str
    precondition: Precondition
    reason: str | None
    dry_run: bool
    force: bool


def read_intent(
    caller: Actor,
    if_match: Annotated[str | None, Header(description='ETag of the revision that is changed, such as "3".')] = None,
    if_none_match: IfNoneMatch = None,
    x_shepherd_reason: Annotated[str | None, Header(description="Reason; takes precedence over the body's.")] = None,
    *,
    dry_run: Annotated[bool, Query(description="Check everything except readiness, and change nothing.")] = False,
    force: Annotated[
        bool, Query(description="Also raise a version that was just rolled back for hard failures.")
    ] = False,
) -> Intent:
    """Read what every write brings beside its body."""
    return Intent(caller.name, parse_precondition(if_match, if_none_match), x_shepherd_reason, dry_run, force)


Writing = Annotated[Intent, Depends(read_intent)]


@router.get("")
async def list_policies(
    ports: Ports,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str, Query(description="`next` of the previous page.")] = "",
) -> dict[str, Any]:
    """List policies by model name; `next` is the cursor of the next page, null on the last one."""
    snapshot = await ports.store.snapshot()
    names = sorted(name for name in snapshot.policies if name > after)
    page = names[:limit]
    return {
        "policies": [show_policy(snapshot.policies[name]) for name in page],
        "next": page[-1] if len(names) > limit else None,
        "epoch": snapshot.epoch,
    }


@router.get("/{model}")
async def get_policy(model: ModelName, ports: Ports, if_none_match: IfNoneMatch = None) -> Response:
    """Read a model's policy; a write must send its `ETag`."""
    stored = await _existing(ports, model)
    if if_none_match is not None and entity_tag(stored.revision) in [tag.strip() for tag in if_none_match.split(",")]:
        return Response(status_code=304, headers={"ETag": entity_tag(stored.revision)})
    return _answer(stored)


@router.put("/{model}")
async def put_policy(model: ModelName, body: Document, ports: Ports, intent: Writing) -> Response:
    """Create or replace a model's policy once every version that it names is ready."""
    document, reason = split_reason(body, intent.reason)
    policy = read_policy(model, await pinned(ports, model, document))
    return await _commit(ports, intent, policy, reason, await ports.store.get(model))


@router.patch("/{model}")
async def patch_policy(model: ModelName, body: Document, ports: Ports, intent: Writing) -> Response:
    """Change parts of a model's policy by a JSON merge patch (RFC 7396): lists are replaced, null removes a field."""
    patch, reason = split_reason(body, intent.reason)
    stored = await _existing(ports, model)
    merged = merge_patch(to_document(stored.policy), patch)
    policy = read_policy(model, await pinned(ports, model, merged))
    return await _commit(ports, intent, policy, reason, stored)


@router.delete("/{model}", status_code=204)
async def delete_policy(model: ModelName, ports: Ports, intent: Writing) -> Response:
    """Delete a model's policy: it gets no more traffic. The reason is in the header."""
    _, reason = split_reason({}, intent.reason)
    stored = await _existing(ports, model)
    expected = intent.precondition.expect(model, stored.revision)
    if not intent.dry_run:
        at = ports.clock()
        await ports.store.delete(model, expected_revision=expected, actor=intent.actor, reason=reason, at=at)
    return Response(status_code=204)


@router.get("/{model}/revisions")
async def list_revisions(model: ModelName, ports: Ports) -> dict[str, Any]:
    """List the revisions that are kept, oldest first, also of a deleted policy."""
    revisions = await ports.store.revisions(model)
    if not revisions:
        raise _no_policy(model)
    return {"model": model, "revisions": [show_policy(stored) for stored in revisions]}


async def _commit(
    ports: Services, intent: Intent, policy: Policy, reason: str, current: StoredPolicy | None
) -> Response:
    """Write a policy if its precondition holds and its versions are ready."""
    expected = intent.precondition.expect(policy.model, current.revision if current else 0)
    await require_thawed(ports, current.policy if current else None, policy, force=intent.force)
    if intent.dry_run:
        await require_known(ports.versions, policy)
        impact = await estimate_impact(ports, current.policy if current else None, policy)
        return JSONResponse(to_document(policy) | {"dry_run": True, "replaces": expected, "impact": impact})
    await require_ready(ports.versions, policy, ports.ready_timeout_s)
    at = ports.clock()
    stored = await ports.store.put(policy, expected_revision=expected, actor=intent.actor, reason=reason, at=at)
    return _answer(stored, 200 if expected else 201)


def read_policy(model: str, document: dict[str, Any]) -> Policy:
    """Check a document whose model may be left out, as the path names it."""
    if document.setdefault("model", model) != model:
        raise Problem("invalid-request", f"model: the path says {model}; leave it out of the body", field="model")
    return parse_policy(document)


async def _existing(ports: Services, model: str) -> StoredPolicy:
    stored = await ports.store.get(model)
    if stored is None:
        raise _no_policy(model)
    return stored


def _no_policy(model: str) -> Problem:
    return Problem("not-found", f"{model} has no policy; create one with PUT and If-None-Match: *")


def _answer(stored: StoredPolicy, status: int = 200) -> JSONResponse:
    return JSONResponse(show_policy(stored), status, {"ETag": entity_tag(stored.revision)})
