"""A model's revisions, and which of them to go back to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from router.policy.document import Policy


class Revision(Protocol):
    """A policy at its place in the history; `router.ports.StoredPolicy` is one."""

    @property
    def policy(self) -> Policy:
        """What it says."""

    @property
    def revision(self) -> int:
        """Its number."""

    @property
    def restores(self) -> int:
        """The revision that it brought back; 0 for one of its own."""


AnyRevision = TypeVar("AnyRevision", bound=Revision)


def last_good(revisions: Sequence[AnyRevision]) -> AnyRevision | None:
    """Find what a rollback goes back to; None when there is nothing.

    Args:
        revisions: of one model, oldest first; the last one stands.

    Good is the latest earlier revision that had settled on one version, if that changes which versions answer: with a
    canary under way, that is the state before the canary and not the step before. Where none ever settled, because two
    versions always share the traffic, it is the latest one with another split.

    What was rolled back from is never gone back to: see `_way_here`. So rolling back twice goes back twice.
    """
    way = _way_here(revisions)
    if not way:
        return None
    current, earlier = way[-1].policy, way[:-1]
    settled = [each for each in earlier if is_settled(each.policy) and _versions(each.policy) != _versions(current)]
    others = [each for each in earlier if _split(each.policy) != _split(current)]
    return settled[-1] if settled else others[-1] if others else None


def last_without(revisions: Sequence[AnyRevision], version: int) -> AnyRevision | None:
    """Find the latest revision of the way here in whose split a version has no share; None when it always had one.

    Unlike `last_good` it leaves an experiment of other versions as it was before this one joined.
    """
    without = [each for each in _way_here(revisions)[:-1] if version not in _versions(each.policy)]
    return without[-1] if without else None


def taken_back(revisions: Sequence[AnyRevision]) -> frozenset[int]:
    """List the versions that a rollback or undo has taken the split from, and that have not come back since."""
    way = _way_here(revisions)
    kept = {each.revision for each in way}
    gone = (_versions(each.policy) for each in revisions if each.revision not in kept and not each.restores)
    return frozenset().union(*gone) - frozenset().union(*(_versions(each.policy) for each in way))


def _way_here(revisions: Sequence[AnyRevision]) -> list[AnyRevision]:
    """List the revisions that led to the one that stands: a revision that restores another takes back all after it."""
    way: list[AnyRevision] = []
    for revision in revisions:
        known = [position for position, each in enumerate(way) if each.revision == revision.restores]
        if known:
            del way[known[0] + 1 :]
        else:
            way.append(revision)
    return way


def is_settled(policy: Policy) -> bool:
    """Tell whether one version answers all of the split."""
    return len(_versions(policy)) == 1


def find_revision(revisions: Sequence[AnyRevision], number: int) -> AnyRevision | None:
    """Find a revision by its number."""
    return next((each for each in revisions if each.revision == number), None)


def _versions(policy: Policy) -> frozenset[int]:
    return frozenset(variant.version for variant in policy.variants if variant.weight)


def _split(policy: Policy) -> dict[str, tuple[int, int]]:
    return {variant.name: (variant.version, variant.weight) for variant in policy.variants if variant.weight}
