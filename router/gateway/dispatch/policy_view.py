"""What this router knows of policies and versions: one reference per model, swapped whole on the event loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from router.policy.decision import CompiledPolicy, compile_policy
from router.ports import PolicySnapshot, StoredPolicy, VersionStatus
from serving.deployment.hosting.host_files import guest_name
from serving.deployment.hosting.host_watches import HostedEndpoint

VersionKey = tuple[str, int]


class Served(NamedTuple):
    """A model that has a policy."""

    compiled: CompiledPolicy
    stored: StoredPolicy
    unavailable: frozenset[int]
    """Versions that failed to load: the split passes them over."""


class PolicyView:
    """The current policies, compiled. Requests in flight keep the ones that they started with."""

    def __init__(self, hosted: Mapping[VersionKey, HostedEndpoint] | None = None) -> None:
        """Take where versions live that share a process, as far as it is known before control has said so."""
        self.epoch = -1
        self.snapshot: PolicySnapshot | None = None
        self.models: dict[str, Served] = {}
        self.statuses: tuple[VersionStatus, ...] = ()
        """What control last said of all versions."""
        self._ready: frozenset[VersionKey] = frozenset()
        self._failed: frozenset[VersionKey] = frozenset()
        self._hosted: dict[VersionKey, HostedEndpoint | None] = dict(hosted or {})

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
        ready = frozenset((s.model, s.version) for s in statuses if s.serves)
        failed = frozenset((s.model, s.version) for s in statuses if s.is_passed_over)
        hosted = {(s.model, s.version): _hosted_endpoint(s) for s in statuses}
        if (ready, failed, hosted) == (self._ready, self._failed, self._hosted):
            return False
        self._ready, self._failed, self._hosted = ready, failed, hosted
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

    def serves(self, key: VersionKey) -> bool:
        """Control says that the version answers requests, if need be after a load."""
        return key in self._ready

    def hosted_endpoint(self, key: VersionKey) -> HostedEndpoint | None:
        """Where a version lives that shares its process; None for all others."""
        return self._hosted.get(key)

    def versions_of(self, model: str) -> list[int]:
        """Versions of a model that can be pinned, ascending."""
        return sorted(version for name, version in self.wanted if name == model)

    def _serve(self, model: str, stored: StoredPolicy) -> Served:
        known = self.models.get(model)
        if known is not None and known.stored is stored:
            return known
        if known is not None and known.stored.revision == stored.revision and known.stored.policy == stored.policy:
            return known._replace(stored=stored)
        return Served(compile_policy(stored.policy), stored, self._unavailable(model))

    def _unavailable(self, model: str) -> frozenset[int]:
        return frozenset(version for name, version in self._failed if name == model)


def _hosted_endpoint(status: VersionStatus) -> HostedEndpoint | None:
    if not status.host or status.signature is None:
        return None
    return HostedEndpoint(status.host, guest_name(status.model, status.version), status.signature)


def _versions(stored: StoredPolicy) -> set[int]:
    policy = stored.policy
    return {variant.version for variant in policy.variants} | {shadow.version for shadow in policy.shadows}
