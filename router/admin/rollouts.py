"""Rollouts over HTTP: start, watch, pause, resume, promote, abort.

An act is a change of the stored record; the controller carries it out at once. So an act is answered when it is decided
and kept, and a gateway that loses its controller in between carries it out when it has one again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Body, Header, Query, Response
from fastapi.responses import JSONResponse

from router.admin.freeze import require_thawed
from router.admin.guard import GuardedRoute
from router.admin.problems import Problem
from router.admin.readiness import require_known, require_ready
from router.admin.representations import show_rollout, split_reason
from router.admin.services import Actor, ModelName, Ports, Services
from router.policy.document import VersionNumber
from router.policy.plan import parse_plan
from router.ports import StoredPolicy
from router.rollout import operator_acts
from router.rollout.rollout import Rollout, begin
from router.rollout.split import shares_at
from router.rollout.writes import go_to_step
from router.rollout_ports import Note, RolloutConflict
from serving.protocol.errors import ErrorKind, ServingError

router = APIRouter(prefix="/admin/v1/rollouts", tags=["rollouts"], route_class=GuardedRoute)

_EXAMPLE = {
    "version": 4,
    "steps": [100, 500, 2500, 10_000],
    "min_requests": 200,
    "min_time_s": 60,
    "checks": [{"kind": "error_rate", "margin": 0.01}, "latency"],
    "bake_s": 600,
    "reason": "trained on this week",
}
Document = Annotated[dict[str, Any], Body(examples=[_EXAMPLE])]
ActBody = Annotated[dict[str, Any], Body(examples=[{"reason": "look at the errors first"}])]
Reason = Annotated[
    str | None, Header(alias="x-shepherd-reason", description="Reason; takes precedence over the body's.")
]
DryRun = Annotated[bool, Query(description="Check everything except readiness, and change nothing.")]
#: Times that an act is decided anew because the controller changed the record in between.
_MAX_RACES: Final = 10

Act = Callable[[Rollout, StoredPolicy], Rollout]


@router.get("")
async def list_rollouts(
    ports: Ports,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str, Query(description="`next` of the previous page.")] = "",
) -> dict[str, Any]:
    """List each model's last rollout by model name; `next` is the cursor of the next page, null on the last one."""
    rollouts = await ports.rollouts.store.all()
    names = sorted(name for name in rollouts if name > after)
    page = names[:limit]
    return {
        "rollouts": [_shown(ports, rollouts[name]) for name in page],
        "next": page[-1] if len(names) > limit else None,
    }


@router.get("/{model}")
async def get_rollout(model: ModelName, ports: Ports) -> dict[str, Any]:
    """Show a model's last rollout: phase, share, current results of the checks, and history."""
    return _shown(ports, await _existing(ports, model))


@router.get("/{model}/history")
async def list_rollout_history(model: ModelName, ports: Ports) -> dict[str, Any]:
    """List a model's earlier rollouts, oldest first."""
    return {"model": model, "rollouts": [show_rollout(each) for each in await ports.rollouts.store.history(model)]}


@router.post("/{model}", status_code=201)
async def start_rollout(
    model: ModelName, body: Document, ports: Ports, caller: Actor, reason: Reason = None, *, dry_run: DryRun = False
) -> Response:
    """Start a rollout of a version. `force` starts it even during the cool-down after a rollback."""
    document, why = split_reason(body, reason)
    version, force = _take_version(document), bool(document.pop("force", False))
    plan = parse_plan(document)
    stored = await ports.store.get(model)
    if stored is None:
        raise Problem("not-found", f"{model} has no policy; create one with PUT")
    now = ports.clock()
    rollout = begin(
        id=f"r{uuid.uuid4().hex[:12]}",
        version=version,
        plan=plan,
        policy=stored.policy,
        policy_revision=stored.revision,
        actor=caller.name,
        reason=why,
        now=now,
    )
    await _require_free(ports, model, now, force=force)
    first = go_to_step(rollout, 0, stored.policy, now, why).rollout.write
    assert first is not None, "a step is a write"
    await require_thawed(ports, stored.policy, first.policy, force=force)
    await require_known(ports.versions, first.policy)
    if dry_run:
        shares = [dict(zip(("canary", "control", "rest"), shares_at(step), strict=True)) for step in plan.steps]
        return JSONResponse(show_rollout(rollout) | {"dry_run": True, "shares": shares})
    if plan.start_at <= now:  # else the version is loaded when its time has come
        await require_ready(ports.versions, first.policy, ports.ready_timeout_s)
    try:
        kept = await ports.rollouts.store.put(rollout, note=Note("rollout.start", caller.name, why), at=now)
    except RolloutConflict:
        raise _under_way(model) from None
    ports.rollouts.nudge()
    return JSONResponse(_shown(ports, kept), 201, {"Location": f"/admin/v1/rollouts/{model}"})


@router.post("/{model}/pause")
async def pause_rollout(
    model: ModelName, body: ActBody, ports: Ports, caller: Actor, reason: Reason = None
) -> dict[str, Any]:
    """Pause at the current step; hard failures still roll back."""
    return await _stay(
        ports, model, Note("rollout.pause", caller.name, split_reason(body, reason)[1]), operator_acts.pause
    )


@router.post("/{model}/resume")
async def resume_rollout(
    model: ModelName, body: ActBody, ports: Ports, caller: Actor, reason: Reason = None
) -> dict[str, Any]:
    """Resume a paused rollout."""
    return await _stay(
        ports, model, Note("rollout.resume", caller.name, split_reason(body, reason)[1]), operator_acts.resume
    )


@router.post("/{model}/promote")
async def promote_rollout(
    model: ModelName, body: ActBody, ports: Ports, caller: Actor, reason: Reason = None
) -> dict[str, Any]:
    """Go to the next step, or with `full` to all of the traffic, whatever the checks say."""
    document, why = split_reason(body, reason)
    full = bool(document.get("full", False))
    now = ports.clock()

    def promote(rollout: Rollout, stored: StoredPolicy) -> Rollout:
        return operator_acts.promote(rollout, stored.policy, now, full=full, actor=caller.name, reason=why)

    return await _act(ports, model, Note("rollout.promote", caller.name, why), promote)


@router.post("/{model}/abort")
async def abort_rollout(
    model: ModelName, body: ActBody, ports: Ports, caller: Actor, reason: Reason = None
) -> dict[str, Any]:
    """Restore the previous policy and end the rollout."""
    _, why = split_reason(body, reason)
    return await abort(ports, model, caller.name, why)


async def abort(ports: Services, model: str, actor: str, reason: str) -> dict[str, Any]:
    """Abort a rollout for somebody."""
    now = ports.clock()

    def give_up(rollout: Rollout, stored: StoredPolicy) -> Rollout:
        return operator_acts.abort(rollout, stored.policy, now, actor=actor, reason=reason)

    return await _act(ports, model, Note("rollout.abort", actor, reason), give_up)


async def _stay(ports: Services, model: str, note: Note, act: Callable[..., Rollout]) -> dict[str, Any]:
    """Do what moves no traffic."""
    now = ports.clock()
    return await _act(ports, model, note, lambda it, _: act(it, now, actor=note.actor, reason=note.reason))


async def _act(ports: Services, model: str, note: Note, act: Act) -> dict[str, Any]:
    """Change a rollout, deciding anew when the controller was faster.

    Raises:
        Problem: 404, there is none; 409, the act has no place where it stands.
    """
    for _ in range(_MAX_RACES):
        rollout = await _existing(ports, model)
        stored = await ports.store.get(model)
        if stored is None:
            raise Problem("conflict", f"{model} has no policy any more")
        try:
            changed = act(rollout, stored)
        except ServingError as error:
            if error.kind is not ErrorKind.INVALID:
                raise
            raise Problem("conflict", error.message) from None
        try:
            kept = await ports.rollouts.store.put(changed, note=note, at=ports.clock())
        except RolloutConflict:
            continue
        ports.rollouts.nudge()
        return _shown(ports, kept)
    raise Problem("conflict", f"the rollout of {model} is changing; try again")


async def _require_free(ports: Services, model: str, now: float, *, force: bool) -> None:
    last = await ports.rollouts.store.get(model)
    if last is not None and not last.is_over:
        raise _under_way(model)
    until = operator_acts.frozen_until(last)
    if now < until and not force:
        raise Problem(
            "conflict",
            f"{model} was rolled back and accepts no rollout for another {until - now:.0f} s; `force` overrides this",
            frozen_until=until,
        )


def _under_way(model: str) -> Problem:
    return Problem("conflict", f"a rollout of {model} is in progress; abort or promote it first")


async def _existing(ports: Services, model: str) -> Rollout:
    rollout = await ports.rollouts.store.get(model)
    if rollout is None:
        raise Problem("not-found", f"{model} has no rollout")
    return rollout


def _shown(ports: Services, rollout: Rollout) -> dict[str, Any]:
    return show_rollout(rollout, ports.rollouts.findings(rollout))


def _take_version(document: dict[str, Any]) -> int:
    try:
        return msgspec.convert(document.pop("version", None), VersionNumber)
    except msgspec.ValidationError:
        raise Problem("invalid-request", "version: must be the number of a version", field="version") from None
