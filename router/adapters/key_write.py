"""What one change of the keys writes, worked out from what stands: the rules that every key store shares. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router.access.key import ApiKey
from router.policy.audit import AuditEntry, next_entry
from router.ports import KeyExists
from serving.protocol.errors import not_found


class KeyStoreState(msgspec.Struct, frozen=True):
    """What a store holds when a change begins."""

    keys: Mapping[str, ApiKey]
    last_entry: AuditEntry | None
    epoch: int


class KeyWrite(msgspec.Struct, frozen=True):
    """What a store must make true, all of it or nothing."""

    name: str
    key: ApiKey | None
    """None: the key is removed."""
    entry: AuditEntry
    epoch: int


def plan_creation(state: KeyStoreState, key: ApiKey, *, actor: str, reason: str, at: float) -> KeyWrite:
    """Work out the addition of a key.

    Raises:
        KeyExists: its name is taken.
    """
    if key.name in state.keys:
        raise KeyExists(key.name)
    return _write(state, key.name, key, actor=actor, reason=reason, at=at)


def plan_revocation(state: KeyStoreState, name: str, *, actor: str, reason: str, at: float) -> KeyWrite:
    """Work out the end of a key.

    Raises:
        ServingError: NOT_FOUND.
    """
    if name not in state.keys:
        raise not_found(f"there is no key {name}")
    return _write(state, name, None, actor=actor, reason=reason, at=at)


def _write(state: KeyStoreState, name: str, key: ApiKey | None, *, actor: str, reason: str, at: float) -> KeyWrite:
    before = state.keys.get(name)
    entry = next_entry(
        state.last_entry,
        at=at,
        actor=actor,
        action="key.create" if key else "key.revoke",
        reason=reason,
        model="",
        before=before and before.describe(),
        after=key and key.describe(),
    )
    # Tied to the clock, so that it goes on growing when a store comes back empty: see `policy_write`.
    return KeyWrite(name, key, entry, max(state.epoch + 1, int(at * 1000)))
