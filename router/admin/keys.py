"""Keys of the data plane, managed through the admin API: each act is in the audit log."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Header, Path
from fastapi.responses import JSONResponse, Response
from msgspec import Meta

from router.access.key import SECRET_PREFIX, ApiKey, digest_of
from router.access.scope import read_scope
from router.adapters.secret import new_secret
from router.admin.guard import GuardedRoute
from router.admin.problems import Problem
from router.admin.services import Actor, Ports
from router.policy.document import Name
from router.policy.validation import field_error
from router.ports import KeyExists

router = APIRouter(prefix="/admin/v1/keys", tags=["keys"], route_class=GuardedRoute)

_MAX_AGE_S = 10 * 366 * 86_400
KeyName = Annotated[str, Path(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", description="Who the key is for.")]
Reason = Annotated[str | None, Header(alias="x-shepherd-reason", description="Reason, recorded in the audit log.")]
_EXAMPLE = {"name": "fraud-team", "models": ["fraud", "churn-*"], "actions": ["infer"], "expires_in_s": 7_776_000}


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for."""

    name: Name
    models: list[str]
    """Names, or patterns with `*`."""
    actions: list[str] | None = None
    """None: infer, metadata and feedback."""
    expires_in_s: Annotated[float, Meta(gt=0, le=_MAX_AGE_S)] | None = None
    """None: never."""


@router.get("")
async def list_keys(ports: Ports) -> dict[str, Any]:
    """List keys and their scopes, including expired ones; secrets are never shown again."""
    snapshot = await ports.keys.snapshot()
    return {"keys": [key.describe() for key in snapshot.keys]}


@router.post("", status_code=201)
async def create_key(
    body: Annotated[dict[str, Any], Body(examples=[_EXAMPLE])], ports: Ports, caller: Actor, reason: Reason = None
) -> Response:
    """Create a key and return its secret, once; every router knows it within a second."""
    wanted = _read(body)
    now = ports.clock()
    secret = new_secret(SECRET_PREFIX)
    key = ApiKey(
        name=wanted.name,
        scope=read_scope(wanted.models, wanted.actions),
        sha256=digest_of(secret),
        created_at=now,
        expires_at=None if wanted.expires_in_s is None else now + wanted.expires_in_s,
    )
    try:
        await ports.keys.create(key, actor=caller.name, reason=reason or "", at=now)
    except KeyExists:
        raise Problem("conflict", f"a key {key.name} already exists; revoke it, or choose another name") from None
    return JSONResponse(key.describe() | {"key": secret}, 201)


@router.delete("/{name}", status_code=204)
async def revoke_key(name: KeyName, ports: Ports, caller: Actor, reason: Reason = None) -> Response:
    """Revoke a key: every router refuses it within a second."""
    await ports.keys.revoke(name, actor=caller.name, reason=reason or "", at=ports.clock())
    return Response(status_code=204)


def _read(body: dict[str, Any]) -> NewKey:
    try:
        return msgspec.convert(body, NewKey)
    except msgspec.ValidationError as error:
        raise field_error(str(error), "body") from None
