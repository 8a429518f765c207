"""Who holds which version: policies name some, a rollback would need some, somebody wished some away. Pure."""

from __future__ import annotations

from collections.abc import Collection

from router.control.reconciler import VersionKey
from router.policy.document import versions_of
from router.ports import PolicySnapshot


class VersionHolders:
    """What is known of them. Before the first policies are known nobody can say that a version is not wanted."""

    def __init__(self) -> None:
        self._named: frozenset[VersionKey] | None = None
        self._standby: frozenset[VersionKey] = frozenset()
        self._unloaded: set[VersionKey] = set()
        """Unloaded by somebody's wish, which goes before `_standby`."""

        self._holds: dict[VersionKey, tuple[str, ...]] = {}
        self.compared: frozenset[VersionKey] = frozenset()
        """Versions that a policy names beside others of the same model: none may answer late for having been cold."""

    @property
    def known(self) -> bool:
        """The policies have been read."""
        return self._named is not None

    def follow(self, policies: PolicySnapshot) -> None:
        """Learn which versions the policies name."""
        holds: dict[VersionKey, tuple[str, ...]] = {}
        compared: set[VersionKey] = set()
        for model, stored in policies.policies.items():
            policy = stored.policy
            for word, versions in (("variant", policy.variants), ("shadow", policy.shadows)):
                for each in versions:
                    holds[model, each.version] = (*holds.get((model, each.version), ()), word)
            named = {(model, version) for version in versions_of(policy)}
            compared |= named if len(named) > 1 else set()
        self._named, self._holds, self.compared = frozenset(holds), holds, frozenset(compared)
        self._unloaded -= self._named

    def keep(self, standby: frozenset[VersionKey]) -> None:
        """Learn which further versions to keep loaded, as long as they are: those that a rollback would need."""
        self._standby = standby

    def drop(self, key: VersionKey) -> None:
        """Somebody wants a version gone, although a rollback might want it."""
        self._unloaded.add(key)

    def recall(self, key: VersionKey) -> None:
        """Somebody wants it back, or it is gone: forget that it was unwanted."""
        self._unloaded.discard(key)

    def is_named(self, key: VersionKey) -> bool:
        """A policy names the version."""
        return key in (self._named or ())

    def holders(self, key: VersionKey) -> tuple[str, ...]:
        """Say who holds a version, one word for each: `variant`, `shadow`, `standby`. It is freed once nobody does."""
        standby = ("standby",) if key in self._standby - self._unloaded else ()
        return (*self._holds.get(key, ()), *standby)

    def is_dropped(self, key: VersionKey) -> bool:
        """Somebody wished it away, and nobody has wanted it since."""
        return key in self._unloaded

    def wanted(self, known: Collection[VersionKey]) -> frozenset[VersionKey]:
        """List what is to be loaded or kept so: all that is named, and of `known` what a rollback would need."""
        return (self._named or frozenset()) | ((self._standby - self._unloaded) & frozenset(known))
