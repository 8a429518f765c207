"""Keeps the versions of each model's last good policy loaded, so that a rollback is immediate."""

from __future__ import annotations

from collections.abc import Callable

from router.control.reconciler import VersionKey
from router.policy.document import versions_of
from router.policy.history import last_good
from router.ports import PolicySnapshot, PolicyStore, StoredPolicy


class Standby:
    """Knows which versions a rollback would need."""

    def __init__(self, store: PolicyStore, keep_s: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._keep_s = keep_s
        self._clock = clock
        self._known: dict[str, tuple[int, frozenset[VersionKey]]] = {}

    async def versions(self, snapshot: PolicySnapshot) -> frozenset[VersionKey]:
        """List them; the history of a model is read again only when its policy has changed.

        Raises:
            StoreUnavailable: a history cannot be read.
        """
        self._known = {model: known for model, known in self._known.items() if model in snapshot.policies}
        kept: set[VersionKey] = set()
        for model, stored in snapshot.policies.items():
            if self._clock() - stored.at <= self._keep_s:
                kept |= await self._of(model, stored)
        return frozenset(kept)

    async def _of(self, model: str, stored: StoredPolicy) -> frozenset[VersionKey]:
        known = self._known.get(model)
        if known is None or known[0] != stored.revision:
            good = last_good(await self._store.revisions(model))
            versions = frozenset((model, version) for version in versions_of(good.policy)) if good else frozenset()
            known = self._known[model] = (stored.revision, versions)
        return known[1]
