"""What this router knows of policies and versions: one reference per model, swapped whole on the event loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from router.policy.decision import CompiledPolicy, compile_policy
from router.ports import PolicySnapshot, StoredPolicy, VersionStatus

VersionKey = tuple[str, int]


class Served(NamedTuple):
    """A model that has a policy."""

    compiled: CompiledPolicy
    stored: StoredPolicy
    unavailable: frozenset[int]
    """Versions that failed to load: the split passes them over."""


class PolicyView:
    """The current policies, compiled. Requests in flight keep the ones that they started with."""

    def __init__(self) -> None:
        self.epoch = -1
        self.snapshot: PolicySnapshot | None = None
        self.models: dict[str, Served] = {}
        self.statuses: tuple[VersionStatus, ...] = ()
        """What control last said of all versions."""
        self._ready: frozenset[VersionKey] = frozenset()
        self._failed: frozenset[VersionKey] = frozenset()

    @property
    def loaded(self) -> bool:
        """Some snapshot has been applied, from the store or from disk."""
        return self.snapshot is not None

    @property
    def wanted(self) -> frozenset[VersionKey]:
        """Every version that a request may go to: named by a policy, or ready for whoever pins it."""
        named = {(model, version) for model, served in self.models.items() for version in _versions(served.stored)}
        return frozenset(named) | self._ready

    def apply(self, snapshot: PolicySnapshot) -> bool:
        """Take a snapshot unless it is older than the one in force; tell whether anything changed."""
        if snapshot.epoch <= self.epoch:
            return False
        self.models = {model: self._serve(model, stored) for model, stored in snapshot.policies.items()}
        self.epoch, self.snapshot = snapshot.epoch, snapshot
        return True

    def apply_versions(self, statuses: Iterable[VersionStatus]) -> bool:
        """Learn which versions are ready and which have failed; tell whether anything changed."""
        self.statuses = statuses = tuple(statuses)
        ready = frozenset((s.model, s.version) for s in statuses if s.state == "ready")
        failed = frozenset((s.model, s.version) for s in statuses if s.state == "failed")
        if (ready, failed) == (self._ready, self._failed):
            return False
        self._ready, self._failed = ready, failed
        self.models = {
            model: served._replace(unavailable=self._unavailable(model)) for model, served in self.models.items()
        }
        return True

    def knows(self, model: str, version: int) -> bool:
        """Whether a request may pin this version."""
        if (model, version) in self._ready:
            return True
        served = self.models.get(model)
        return served is not None and version in _versions(served.stored)

    def versions_of(self, model: str) -> list[int]:
        """Versions of a model that can be pinned, ascending."""
        return sorted(version for name, version in self.wanted if name == model)

    def _serve(self, model: str, stored: StoredPolicy) -> Served:
        known = self.models.get(model)
        if known is not None and known.stored.revision == stored.revision and known.stored.policy == stored.policy:
            return known._replace(stored=stored)
        return Served(compile_policy(stored.policy), stored, self._unavailable(model))

    def _unavailable(self, model: str) -> frozenset[int]:
        return frozenset(version for name, version in self._failed if name == model)


def _versions(stored: StoredPolicy) -> set[int]:
    policy = stored.policy
    return {variant.version for variant in policy.variants} | {shadow.version for shadow in policy.shadows}
