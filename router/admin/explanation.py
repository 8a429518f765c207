"""Why a request goes where it goes, asked without sending it to a model."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from router.admin.guard import GuardedRoute
from router.admin.problems import Problem
from router.admin.services import ModelName, Ports
from router.policy.compiled import compile_policy
from router.policy.decision import explain

router = APIRouter(prefix="/admin/v1/policies", tags=["policies"], route_class=GuardedRoute)


class Question(BaseModel):
    """The part of a request that a decision looks at."""

    model_config = ConfigDict(extra="forbid", strict=True)

    headers: Annotated[dict[str, str], Field(description="HTTP headers or gRPC metadata; case is ignored.")] = {}
    parameters: Annotated[dict[str, bool | int | float | str], Field(description="The V2 request's parameters.")] = {}
    version: Annotated[int | None, Field(ge=1, description="Version that the URL pins.")] = None
    request_id: Annotated[str, Field(description="x-request-id; default: a random one.")] = ""


@router.post("/{model}/explain")
async def explain_decision(model: ModelName, question: Question, ports: Ports) -> dict[str, Any]:
    """Show how routers would decide now, step by step: rules, key, the score of each variant, shadows."""
    stored = await ports.store.get(model)
    if stored is None:
        raise Problem("not-found", f"{model} has no policy")
    statuses = await ports.versions.versions()
    request_id = question.request_id or uuid.uuid4().hex
    answer = explain(
        compile_policy(stored.policy),
        pinned=question.version,
        headers=question.headers,
        parameters=question.parameters,
        request_id=request_id,
        unavailable=frozenset(each.version for each in statuses if each.model == model and each.is_passed_over),
    )
    return answer | {"request_id": request_id, "revision": stored.revision}
