"""Variants that follow an alias of the registry: what a move of it asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from router.policy.document import Policy, Variant, parse_policy, to_document, useful_shadows

Alias = tuple[str, str]
"""Model and alias."""


class Move(NamedTuple):
    """A variant whose alias points to another version than it serves."""

    variant: Variant
    version: int
    """Where the alias points."""

    @property
    def words(self) -> str:
        """What to tell people."""
        return f"alias {self.variant.alias} moved: {self.variant.version} → {self.version}"


def aliases_of(policies: Iterable[Policy]) -> frozenset[Alias]:
    """List the aliases that policies follow."""
    return frozenset(
        (policy.model, variant.alias) for policy in policies for variant in policy.variants if variant.alias
    )


def moves_of(policy: Policy, pointed: Mapping[Alias, int]) -> tuple[Move, ...]:
    """List the variants that are not where their alias points; one whose alias is unknown stays."""
    wanted = {each.name: pointed.get((policy.model, each.alias or ""), each.version) for each in policy.variants}
    return tuple(Move(each, wanted[each.name]) for each in policy.variants if wanted[each.name] != each.version)


def swapped(policy: Policy, moves: Sequence[Move]) -> Policy:
    """Give variants the versions that their aliases point to, with the shares that they have.

    A shadow of a version that answers everything from then on goes: it would be compared with itself.
    """
    wanted = {move.variant.name: move.version for move in moves}
    variants = tuple(
        msgspec.structs.replace(each, version=wanted.get(each.name, each.version)) for each in policy.variants
    )
    moved = msgspec.structs.replace(policy, variants=variants)
    return parse_policy(to_document(msgspec.structs.replace(moved, shadows=useful_shadows(moved))))
