"""A policy store in memory: for tests, and for embedding a gateway that needs no other process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from types import MappingProxyType
from typing import Any

from router.adapters.memory.changes import Changes
from router.adapters.policy_write import (
    KEPT_REVISIONS,
    CurrentPolicy,
    SingleWrites,
    StoreState,
    Write,
    check_distinct,
    plan_writes,
)
from router.policy.audit import AuditEntry, next_entry
from router.ports import PolicyChange, PolicySnapshot, StoredPolicy


class MemoryPolicyStore(SingleWrites):
    """A `PolicyStore` that lives and dies with its process.

    Writes do not await, so each is atomic on its event loop.
    """

    def __init__(self) -> None:
        self._epoch = 0
        self._policies: dict[str, StoredPolicy] = {}
        self._revisions: dict[str, list[StoredPolicy]] = defaultdict(list)
        self._audit: list[AuditEntry] = []
        self._changes = Changes()

    async def snapshot(self) -> PolicySnapshot:
        """Read everything."""
        return PolicySnapshot(self._epoch, MappingProxyType(dict(self._policies)))

    async def get(self, model: str) -> StoredPolicy | None:
        """Read one policy."""
        return self._policies.get(model)

    async def write(
        self, changes: Sequence[PolicyChange], *, actor: str, reason: str, at: float
    ) -> Sequence[StoredPolicy | None]:
        """Make several changes, all of them or none."""
        check_distinct(changes)
        state = StoreState(
            policies={change.model: self._current(change.model) for change in changes},
            last_entry=self._audit[-1] if self._audit else None,
            epoch=self._epoch,
        )
        writes = plan_writes(state, changes, actor=actor, reason=reason, at=at)
        for write in writes:
            self._apply(write)
        return tuple(write.stored for write in writes)

    async def note(
        self, *, action: str, actor: str, reason: str, model: str, before: Any, after: Any, at: float
    ) -> AuditEntry:
        """Write down an act that changes no policy."""
        last = self._audit[-1] if self._audit else None
        entry = next_entry(
            last, at=at, actor=actor, action=action, reason=reason, model=model, before=before, after=after
        )
        self._audit.append(entry)
        return entry

    async def revisions(self, model: str) -> Sequence[StoredPolicy]:
        """Every revision kept, oldest first; a delete keeps them."""
        return tuple(self._revisions.get(model, ()))

    async def audit(self, *, after_seq: int = 0, limit: int = 1000) -> Sequence[AuditEntry]:
        """Read the audit log from a place on, oldest first."""
        return tuple(self._audit[after_seq : after_seq + limit])

    def watch(self) -> AsyncGenerator[PolicySnapshot, None]:
        """Yield the current snapshot, then a new one after each change; changes in quick succession may come as one."""
        return self._changes.follow(self.snapshot)

    def _current(self, model: str) -> CurrentPolicy:
        revisions = self._revisions.get(model)
        return CurrentPolicy(self._policies.get(model), revisions[-1].revision if revisions else 0)

    def _apply(self, write: Write) -> None:
        if write.stored is None:
            del self._policies[write.model]
        else:
            self._policies[write.model] = write.stored
            kept = self._revisions[write.model]
            kept.append(write.stored)
            del kept[:-KEPT_REVISIONS]
        self._audit.append(write.entry)
        self._epoch = write.epoch
        self._changes.announce()
