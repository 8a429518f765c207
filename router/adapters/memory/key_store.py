"""A key store in memory, for tests and for embedding; its audit entries are the policy store's."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from router.access.key import ApiKey, KeySnapshot
from router.adapters.key_write import KeyStoreState, KeyWrite, plan_creation, plan_revocation
from router.adapters.memory.changes import Changes
from router.adapters.memory.policy_store import MemoryPolicyStore


class MemoryKeyStore:
    """A `KeyStore` that lives and dies with its process."""

    def __init__(self, beside: MemoryPolicyStore) -> None:
        self._audit = beside
        self._epoch = 0
        self._keys: dict[str, ApiKey] = {}
        self._changes = Changes()

    async def snapshot(self) -> KeySnapshot:
        """Read all keys, by name."""
        return KeySnapshot(self._epoch, tuple(self._keys[name] for name in sorted(self._keys)))

    async def create(self, key: ApiKey, *, actor: str, reason: str, at: float) -> None:
        """Add a key."""
        await self._apply(plan_creation(self._state(), key, actor=actor, reason=reason, at=at))

    async def revoke(self, name: str, *, actor: str, reason: str, at: float) -> None:
        """End a key."""
        await self._apply(plan_revocation(self._state(), name, actor=actor, reason=reason, at=at))

    def watch(self) -> AsyncGenerator[KeySnapshot, None]:
        """Yield the current keys, then all anew after each change."""
        return self._changes.follow(self.snapshot)

    def _state(self) -> KeyStoreState:
        return KeyStoreState(self._keys, None, self._epoch)

    async def _apply(self, write: KeyWrite) -> None:
        entry = write.entry
        await self._audit.note(
            action=entry.action,
            actor=entry.actor,
            reason=entry.reason,
            model="",
            before=entry.before,
            after=entry.after,
            at=entry.at,
        )
        self._keys.pop(write.name, None)
        if write.key is not None:
            self._keys[write.name] = write.key
        self._epoch = write.epoch
        self._changes.announce()
