"""Loading and unloading versions over HTTP: what operators ask for here, and V2's repository extension at the doors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter

from router.admin.guard import GuardedRoute
from router.admin.problems import Problem
from router.admin.representations import show_version
from router.admin.services import ModelName, Ports, Services, VersionNumber
from router.ports import VersionInUse, VersionStatus, VersionUnready

#: States of versions that hold nothing.
_UNLOADED: Final = frozenset({"absent", "failed"})

router = APIRouter(prefix="/admin/v1/models", tags=["models"], route_class=GuardedRoute)


@router.post("/{model}/load")
async def load_model(model: ModelName, ports: Ports) -> dict[str, Any]:
    """Make the newest version of a model ready, and wait until it is; it answers requests that pin it."""
    newest = max(status.version for status in await _versions(ports, model))
    return show_version(await _load(ports, model, newest))


@router.post("/{model}/versions/{version}/load")
async def load_version(model: ModelName, version: VersionNumber, ports: Ports) -> dict[str, Any]:
    """Make a version ready, and wait until it is; it answers requests that pin it."""
    return show_version(await _load(ports, model, version))


@router.post("/{model}/unload")
async def unload_model(model: ModelName, ports: Ports) -> dict[str, Any]:
    """Drain and free every version of a model that no policy names."""
    loaded = [status.version for status in await _versions(ports, model) if status.state not in _UNLOADED]
    outcomes = await asyncio.gather(*(_unload(ports, model, version) for version in loaded), return_exceptions=True)
    unloaded: list[dict[str, Any]] = []
    for outcome in outcomes:
        if isinstance(outcome, VersionStatus):
            unloaded.append(show_version(outcome))
        elif not isinstance(outcome, VersionInUse):
            raise outcome
    if outcomes and not unloaded:
        raise _in_use(model, loaded)
    return {"versions": unloaded}


@router.post("/{model}/versions/{version}/unload")
async def unload_version(model: ModelName, version: VersionNumber, ports: Ports) -> dict[str, Any]:
    """Drain and free a version that no policy names."""
    try:
        return show_version(await _unload(ports, model, version))
    except VersionInUse:
        raise _in_use(model, [version]) from None


async def _versions(ports: Services, model: str) -> list[VersionStatus]:
    found = [status for status in await ports.versions.versions() if status.model == model]
    if not found:
        raise Problem("not-found", f"no model {model} in the registry")
    return found


async def _load(ports: Services, model: str, version: int) -> VersionStatus:
    try:
        return await ports.versions.ensure_ready(model, version, timeout_s=ports.ready_timeout_s)
    except VersionUnready as unready:
        status = unready.status
        detail = f"{model} version {version} is {status.state}: {status.reason}"
        raise Problem("version-unready", detail, versions=[show_version(status)]) from None


async def _unload(ports: Services, model: str, version: int) -> VersionStatus:
    return await ports.versions.unload(model, version, timeout_s=ports.ready_timeout_s)


def _in_use(model: str, versions: Sequence[int]) -> Problem:
    numbers = ", ".join(map(str, versions))
    return Problem("conflict", f"a policy names {model} version {numbers}: take it out of the policy first")
