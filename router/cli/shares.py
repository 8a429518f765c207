"""Traffic shares as people write them, `stable=3:95%`, and as policies hold them, in basis points. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

_SHARE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,127})=(?P<version>\d{1,10}):(?P<percent>[^:]+)", re.ASCII)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,2})?)\s*%?", re.ASCII)


def parse_variants(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Read `name=version:percent` items into a policy's variants.

    Raises:
        ValueError: naming the item at fault, or the sum when it is not 100 %.
    """
    variants: list[dict[str, Any]] = []
    for text in texts:
        match = _SHARE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text}: expected name=version:percent, as stable=3:95%")
        weight = parse_percent(match["percent"])
        variants.append({"name": match["name"], "version": int(match["version"]), "weight": weight})
    total = sum(variant["weight"] for variant in variants)
    if total != 10_000:
        raise ValueError(f"the shares sum to {format_percent(total)}; they must sum to 100%")
    return variants


def parse_percent(text: str) -> int:
    """Read a percentage with at most two decimals as basis points: `12.5%` is 1250.

    Raises:
        ValueError: it is none, or above 100.
    """
    match = _PERCENT.fullmatch(text)
    basis_points = int(Decimal(match[1]) * 100) if match else -1
    if not 0 <= basis_points <= 10_000:
        raise ValueError(f"{text}: expected a percentage of 0 to 100 with at most two decimals, as 12.5%")
    return basis_points


def format_percent(basis_points: int) -> str:
    """Write basis points as a percentage without idle zeros: 1250 is `12.5%`."""
    return f"{basis_points / 100:.2f}".rstrip("0").rstrip(".") + "%"
