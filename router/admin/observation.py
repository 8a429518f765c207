"""What operators look at: the request log's accounting, the audit log, and one overview of everything."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query

from router.admin.guard import GuardedRoute
from router.admin.representations import show_models, show_policy
from router.admin.services import Ports, Services
from router.ports import StoreUnavailable
from serving.protocol.errors import ServingError

router = APIRouter(prefix="/admin/v1", tags=["observation"], route_class=GuardedRoute)


@router.get("/log")
async def get_log(ports: Ports) -> dict[str, Any]:
    """Show the request log's accounting: requests = logged + sampled_out + the sum of dropped, always."""
    return dict(await ports.log.accounting())


@router.get("/audit")
async def list_audit(
    ports: Ports,
    after_seq: Annotated[int, Query(ge=0, description="`next` of the previous page.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """List administrative changes, oldest first; `next` is the cursor of the next page, null on the last one."""
    entries = await ports.store.audit(after_seq=after_seq, limit=limit + 1)
    page = entries[:limit]
    return {
        "entries": [msgspec.to_builtins(entry) for entry in page],
        "next": page[-1].seq if len(entries) > limit else None,
    }


@router.get("/status")
async def get_status(ports: Ports) -> dict[str, Any]:
    """Show the node, its models, policies and log accounting in one answer.

    Models, policies and log are null where they cannot be read, and `problems` says why: the overview is needed most
    when something is unavailable.
    """
    problems = list(ports.registry.concerns())
    return {
        "gateway": dict(await ports.status()),
        "models": await _models(ports, problems),
        "policies": await _policies(ports, problems),
        "log": await _log(ports, problems),
        "problems": problems,
    }


async def _models(ports: Services, problems: list[str]) -> list[dict[str, Any]] | None:
    try:
        return show_models(await ports.versions.versions())
    except ServingError as error:
        problems.append(f"models: {error.message}")
        return None


async def _log(ports: Services, problems: list[str]) -> dict[str, Any] | None:
    try:
        return dict(await ports.log.accounting())
    except StoreUnavailable as error:
        problems.append(f"request log: {error}; requests are counted all the same")
        return None


async def _policies(ports: Services, problems: list[str]) -> list[dict[str, Any]] | None:
    try:
        snapshot = await ports.store.snapshot()
    except StoreUnavailable as error:
        problems.append(f"policy store: {error}; routers go on with the last policies")
        return None
    problems.extend(snapshot.problems)
    return [show_policy(stored) for _, stored in sorted(snapshot.policies.items())]
