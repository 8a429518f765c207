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

    What was rolled back from is never gone back to: a revision that restores another stands in that one's place, so
    rolling back twice goes back twice and does not bring the bad version again.
    """
    if not revisions:
        return None
    current = revisions[-1]
    place = current.restores or current.revision
    earlier = [each for each in revisions if each.revision < place and not each.restores]
    split = _split(current.policy)
    now = _versions(current.policy)
    settled = [each for each in earlier if is_settled(each.policy) and _versions(each.policy) != now]
    others = [each for each in earlier if _split(each.policy) != split]
    return settled[-1] if settled else others[-1] if others else None


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
