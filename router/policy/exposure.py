"""Which versions are on trial because somebody has raised their share, and for how long one that failed is kept out.

All of it is read off a model's revisions, so whoever looks, also after a restart, comes to the same answer. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from router.policy.actors import HARD_FAILURE_WATCH, is_exempt_from_trial
from router.policy.document import Policy
from router.policy.history import Revision


class Written(Revision, Protocol):
    """A revision with who wrote it, and when."""

    @property
    def actor(self) -> str:
        """Who."""

    @property
    def at(self) -> float:
        """Unix seconds."""


class Freeze(NamedTuple):
    """Versions that were taken back for failing, and until when (Unix seconds) they get no traffic again."""

    versions: frozenset[int]
    until: float


def on_trial(revisions: Sequence[Written], *, since: float) -> frozenset[int]:
    """Find the versions that answer a share of the split which a revision after `since` (Unix seconds) has raised.

    A model's first policy puts nothing on trial: there is nothing to go back to.
    """
    if not revisions:
        return frozenset()
    now = shares(revisions[-1].policy)
    raised = {
        version
        for before, after in pairwise(revisions)
        if after.at >= since and not is_exempt_from_trial(after.actor)
        for version, share in shares(after.policy).items()
        if share > shares(before.policy).get(version, 0)
    }
    return frozenset(version for version in raised if version in now)


def freeze_of(revisions: Sequence[Written], cool_down_s: float) -> Freeze:
    """Find what the hard-failure watch has taken back last, and until when it stays out."""
    for before, after in reversed(list(pairwise(revisions))):
        if after.actor == HARD_FAILURE_WATCH:
            gone = shares(before.policy).keys() - shares(after.policy).keys()
            return Freeze(frozenset(gone), after.at + cool_down_s)
    return Freeze(frozenset(), 0.0)


def newly_shared(before: Policy | None, after: Policy) -> Collection[int]:
    """List the versions that get a share of the split and had none."""
    return shares(after).keys() - (shares(before).keys() if before else set())


def shares(policy: Policy) -> dict[int, int]:
    """Sum up the basis points of each version that has any."""
    found: dict[int, int] = {}
    for variant in policy.variants:
        if variant.weight:
            found[variant.version] = found.get(variant.version, 0) + variant.weight
    return found
