"""The admin API: policies, models, log and status over HTTP, for operators and their tools."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from fastapi import APIRouter, FastAPI

from router.admin import (
    batch,
    experiments,
    explanation,
    keys,
    loading,
    models,
    monitoring,
    observation,
    page,
    policies,
    problems,
    rollback,
)
from router.admin import rollouts as rollout_acts
from router.admin import tokens as token_acts
from router.admin.auth import TokenStore
from router.admin.guard import GuardedRoute
from router.admin.operations import OPERATIONS
from router.admin.request_filter import RequestFilter
from router.admin.services import NodeStatus, RegistryServices, RolloutServices, Services, Watch
from router.ports import KeyStore, LogAccounting, PolicyStore, Readings, VersionManager
from router.rollout_ports import AnswerStore

ROUTERS: tuple[APIRouter, ...] = (
    policies.router,
    batch.router,
    rollback.router,
    rollout_acts.router,
    token_acts.router,
    keys.router,
    explanation.router,
    models.router,
    loading.router,
    experiments.router,
    monitoring.router,
    observation.router,
    page.router,
)


def build_admin(
    store: PolicyStore,
    versions: VersionManager,
    log: LogAccounting,
    tokens: TokenStore,
    status: NodeStatus,
    *,
    readings: Readings,
    rollouts: RolloutServices,
    watch: Watch,
    answers: AnswerStore,
    key_store: KeyStore,
    registry: RegistryServices,
    allowed_hosts: Iterable[str] = (),
    ready_timeout_s: float = 60.0,
    cool_down_s: float = 300.0,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """Build the ASGI app.

    Args:
        store: policies.
        versions: brings versions to life.
        log: the request log's accounting.
        tokens: who may call.
        status: gives what the node knows of itself.
        readings: what was measured of models.
        rollouts: where rollouts are kept, and who carries them on.
        watch: what the monitor knows.
        answers: keeps answers of writes by idempotency key.
        key_store: keys of the data plane.
        registry: where aliases point.
        allowed_hosts: names beside loopback's that a request's Host may carry.
        ready_timeout_s: how long a write waits for the versions that it names.
        cool_down_s: how long a version that the hard-failure watch has taken back gets no share.
        clock: Unix seconds.
    """
    app = FastAPI(
        title="Model Shepherd",
        summary="Admin API of a model serving gateway",
        # The page at /docs is our own: the framework's loads scripts from elsewhere, beside a token that moves traffic.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.tokens = tokens
    app.state.answers = answers
    app.state.services = Services(
        store,
        versions,
        log,
        status,
        clock,
        ready_timeout_s,
        readings,
        rollouts,
        watch,
        key_store,
        cool_down_s,
        registry,
    )
    for router in ROUTERS:
        app.include_router(router)
    _require_rights(ROUTERS)
    problems.install(app)
    app.add_middleware(RequestFilter, allowed_hosts=tuple(allowed_hosts))
    return app


def _require_rights(routers: Iterable[APIRouter]) -> None:
    """Refuse to build an API with an operation that has no row in the table of rights."""
    routes = [route for router in routers for route in router.routes]
    missing = [str(route) for route in routes if not isinstance(route, GuardedRoute) or route.name not in OPERATIONS]
    if missing:
        raise RuntimeError(f"operations without rights: {', '.join(missing)}; add them to router/admin/operations.py")
