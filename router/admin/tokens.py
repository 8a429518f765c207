"""Who may call the admin API, managed through it: each act is in the audit log."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Header, Path, Request, Response
from fastapi.responses import JSONResponse

from router.admin.auth import INITIAL_NAME, TokenStore
from router.admin.guard import GuardedRoute
from router.admin.operations import Role
from router.admin.problems import Problem
from router.admin.services import Actor, Ports
from router.policy.actors import is_own

router = APIRouter(prefix="/admin/v1/tokens", tags=["tokens"], route_class=GuardedRoute)

TokenName = Annotated[str, Path(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", description="Who the token is for.")]
Reason = Annotated[str | None, Header(alias="x-shepherd-reason", description="Reason, recorded in the audit log.")]


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a new token may do."""

    role: str = "viewer"


@router.get("")
async def list_tokens(request: Request) -> dict[str, Any]:
    """List the names and roles of tokens; tokens are never shown again."""
    callers = _store(request).names()
    return {"tokens": [{"name": caller.name, "role": caller.role.name.lower()} for caller in callers]}


@router.put("/{name}", status_code=201)
async def add_token(  # noqa: PLR0917
    name: TokenName,
    request: Request,
    body: Annotated[dict[str, Any], Body(examples=[{"role": "operator"}])],
    ports: Ports,
    caller: Actor,
    reason: Reason = None,
) -> Response:
    """Create a token and return it, once; it replaces the name's previous one."""
    _check_name(name)
    if is_own(name):
        raise Problem("invalid-request", f"name: the gateway itself writes as {name}; choose another")
    role = _role_of(body)
    after = {"name": name, "role": role.name.lower()}
    # First the note: an act that cannot be written down is not done.
    await ports.store.note(
        action="token.add", actor=caller.name, reason=reason or "", model="", before=None, after=after, at=ports.clock()
    )
    return JSONResponse(after | {"token": _store(request).add(name, role)}, 201)


@router.delete("/{name}", status_code=204)
async def remove_token(
    name: TokenName, request: Request, ports: Ports, caller: Actor, reason: Reason = None
) -> Response:
    """Revoke a token at once."""
    _check_name(name)
    if name not in {known.name for known in _store(request).names()}:
        raise Problem("not-found", f"{name} has no token")
    await ports.store.note(
        action="token.remove",
        actor=caller.name,
        reason=reason or "",
        model="",
        before={"name": name},
        after=None,
        at=ports.clock(),
    )
    _store(request).remove(name)
    return Response(status_code=204)


def _store(request: Request) -> TokenStore:
    store: TokenStore = request.app.state.tokens
    return store


def _check_name(name: str) -> None:
    if name == INITIAL_NAME:
        raise Problem("invalid-request", f"name: {INITIAL_NAME} is reserved; its token is in admin.token")


def _role_of(body: dict[str, Any]) -> Role:
    try:
        return Role[msgspec.convert(body, Grant).role.upper()]
    except (msgspec.ValidationError, KeyError):
        known = ", ".join(role.name.lower() for role in Role)
        raise Problem("invalid-request", f"role: must be one of {known}", field="role") from None
