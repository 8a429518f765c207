"""What the monitor knows, over HTTP: drift by column, performance by label, incidents; and the hold on rollbacks."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Header, Query

from router.admin.guard import GuardedRoute
from router.admin.problems import Problem
from router.admin.representations import split_reason
from router.admin.services import Actor, ModelName, Ports, Services
from router.drift.verdict import WindowVerdict
from router.monitor.book import Book
from router.monitor.incident import estimate_of, explanation_of, performance_of
from router.monitor.state import LabelCounts
from router.rollout.rollout import Rollout

router = APIRouter(prefix="/admin/v1", tags=["monitoring"], route_class=GuardedRoute)

Reason = Annotated[
    str | None, Header(alias="x-shepherd-reason", description="Reason; takes precedence over the body's.")
]


@router.get("/drift/{model}")
async def get_drift(model: ModelName, ports: Ports) -> dict[str, Any]:
    """Compare each version's data and predictions with its reference, by arm and column."""
    book = await ports.watch.book()
    return {"model": model, "versions": [_drift(book, model, version) for version in _versions(book, model)]}


@router.get("/performance/{model}")
async def get_performance(model: ModelName, ports: Ports) -> dict[str, Any]:
    """Show each version's performance on the labels received, by arm."""
    book = await ports.watch.book()
    holds = await ports.watch.holds()
    return {
        "model": model,
        "labels": msgspec.to_builtins(book.labels.get(model, LabelCounts())),
        "rollbacks_held": holds.get(model),
        "versions": [_performance(book, model, version) for version in _versions(book, model)],
    }


@router.get("/incidents")
async def list_incidents(
    ports: Ports,
    model: Annotated[str, Query(description="Only this model.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """List incidents, newest first, each with the rollouts of versions retrained for it."""
    incidents = await ports.watch.incidents(limit, model or None)
    answers = await _answers(ports, {each.model for each in incidents})
    return {
        "incidents": [
            msgspec.to_builtins(each) | {"rollouts": [_answer(rollout) for rollout in answers.get(each.id, ())]}
            for each in incidents
        ]
    }


@router.post("/performance/{model}/hold")
async def hold_rollbacks(
    model: ModelName,
    body: Annotated[dict[str, Any], Body(examples=[{"held": True, "reason": "labels of the last hour are wrong"}])],
    ports: Ports,
    caller: Actor,
    reason: Reason = None,
) -> dict[str, Any]:
    """Disable automatic rollbacks of a model, or enable them again."""
    fields, why = split_reason(body, reason)
    held = fields.get("held")
    if not isinstance(held, bool):
        raise Problem("invalid-request", "held: must be true or false", field="held")
    before = (await ports.watch.holds()).get(model)
    after = why if held else None
    action = "monitor.hold" if held else "monitor.release"
    await ports.store.note(
        action=action, actor=caller.name, reason=why, model=model, before=before, after=after, at=ports.clock()
    )
    await ports.watch.hold(model, after)
    return {"model": model, "rollbacks_held": after}


async def _answers(ports: Services, models: set[str]) -> dict[str, list[Rollout]]:
    """Collect the rollouts that answer an incident, by its id, oldest first."""
    found: dict[str, list[Rollout]] = {}
    last = await ports.rollouts.store.all() if models else {}
    for model in models & last.keys():
        for rollout in (*await ports.rollouts.store.history(model), last[model]):
            if rollout.incident:
                found.setdefault(rollout.incident, []).append(rollout)
    return found


def _answer(rollout: Rollout) -> dict[str, Any]:
    return {
        "id": rollout.id,
        "version": rollout.version,
        "phase": rollout.phase.value,
        "share_bp": rollout.share_bp,
        "words": rollout.words,
    }


def _versions(book: Book, model: str) -> list[int]:
    found = sorted(version for name, version in book.versions if name == model)
    if not found:
        raise Problem("not-found", f"{model} has no answers that the monitor has counted")
    return found


def _drift(book: Book, model: str, version: int) -> dict[str, Any]:
    profile, state = book.profile(model, version), book.versions[model, version]
    arms = {arm.name: each for arm, each in book.arms.items() if arm[:2] == (model, version)}
    return {
        "version": version,
        "reference": {
            "kind": "gathering" if profile is None else "self" if profile.self_referenced else "profile",
            "rows": state.gathered_rows if profile is None else profile.rows,
            "refused": state.refused,
        },
        "arms": [
            {
                "arm": name,
                "answers": each.answers,
                "windows": each.windows,
                **_window(each.verdict),
                "explanation": explanation_of(each),
            }
            for name, each in sorted(arms.items())
        ],
    }


def _window(verdict: WindowVerdict | None) -> dict[str, Any]:
    if verdict is None:
        return {"rows": 0, "alarmed": [], "drifted": [], "faults": [], "columns": []}
    return {
        "rows": verdict.rows,
        "alarmed": list(verdict.alarmed),
        "drifted": list(verdict.drifted),
        "faults": [msgspec.to_builtins(fault._asdict()) for fault in verdict.faults],
        "level": verdict.level,
        "columns": [_finite(msgspec.to_builtins(column)) for column in verdict.columns],
    }


def _performance(book: Book, model: str, version: int) -> dict[str, Any]:
    standard = book.standard(model, version)
    if standard is None:
        return {"version": version, "judged": False, "why": _why_unjudged(book, model, version), "arms": []}
    lines = [
        {"arm": arm.name, **performance_of(each, standard), "estimate": estimate_of(each, standard)}
        for arm, each in sorted(book.arms.items())
        if arm[:2] == (model, version)
    ]
    why = "against its own first labels" if standard.is_own else ""
    return {"version": version, "judged": True, "why": why, "arms": lines}


def _why_unjudged(book: Book, model: str, version: int) -> str:
    profile, state = book.profile(model, version), book.versions[model, version]
    if profile is None:
        return "its reference is being gathered"
    if not profile.score:
        return "which of its outputs is the score cannot be told; `shepherd model profile` takes its name"
    return f"it has no baseline yet: {len(state.first_labels)} of its first labelled rows have come"


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {key: None if isinstance(value, float) and not isfinite(value) else value for key, value in fields.items()}
