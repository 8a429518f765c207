"""Policies may name a version by an alias alone: it is resolved and pinned when the policy is written."""

from __future__ import annotations

from typing import Any

from router.admin.services import Services


async def pinned(ports: Services, model: str, document: dict[str, Any]) -> dict[str, Any]:
    """Fill in the version of each variant that has only an alias; whatever else is wrong is for `parse_policy`.

    Raises:
        ServingError: NOT_FOUND, the model has no such alias, and which it has; UNAVAILABLE, the registry is away.
    """
    variants = document.get("variants")
    if not isinstance(variants, list):
        return document
    return document | {"variants": [await _pinned(ports, model, each) for each in variants]}


async def _pinned(ports: Services, model: str, variant: Any) -> Any:
    if not isinstance(variant, dict) or "version" in variant or not isinstance(variant.get("alias"), str):
        return variant
    return variant | {"version": await ports.registry.aliased(model, variant["alias"])}
