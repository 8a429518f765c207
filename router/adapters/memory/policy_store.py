"""A policy store in memory: for tests, and for embedding a gateway that needs no other process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from router.adapters.policy_write import KEPT_REVISIONS, Standing, Write, check_distinct, plan_change
from router.policy.audit import AuditEntry, next_entry
from router.policy.document import Policy
from router.ports import PolicyChange, PolicySnapshot, StoredPolicy


class MemoryPolicyStore:
    """A `PolicyStore` that lives and dies with its process.

    Writes do not await, so each is atomic on its event loop.
    """

    def __init__(self) -> None:
        self._epoch = 0
        self._policies: dict[str, StoredPolicy] = {}
        self._revisions: dict[str, list[StoredPolicy]] = defaultdict(list)
        self._audit: list[AuditEntry] = []
        self._changed = asyncio.Event()

    async def snapshot(self) -> PolicySnapshot:
        """Read everything."""
        return PolicySnapshot(self._epoch, MappingProxyType(dict(self._policies)))

    async def get(self, model: str) -> StoredPolicy | None:
        """Read one policy."""
        return self._policies.get(model)

    async def put(self, policy: Policy, *, expected_revision: int, actor: str, reason: str, at: float) -> StoredPolicy:
        """Write a revision if the current one is `expected_revision`; else `RevisionConflict`."""
        change = PolicyChange(policy.model, policy, expected_revision)
        (stored,) = await self.write((change,), actor=actor, reason=reason, at=at)
        assert stored is not None, "a policy was written"
        return stored

    async def delete(self, model: str, *, expected_revision: int, actor: str, reason: str, at: float) -> None:
        """Remove a policy, under the same condition as `put`."""
        await self.write((PolicyChange(model, None, expected_revision),), actor=actor, reason=reason, at=at)

    async def write(
        self, changes: Sequence[PolicyChange], *, actor: str, reason: str, at: float
    ) -> Sequence[StoredPolicy | None]:
        """Make several changes, all of them or none."""
        check_distinct(changes)
        planned: list[tuple[StoredPolicy | None, Write]] = []
        for change in changes:
            standing = self._standing(change.model)
            if planned:
                before = planned[-1][1]
                standing = msgspec.structs.replace(standing, last_entry=before.entry, epoch=before.epoch)
            planned.append(plan_change(standing, change, actor=actor, reason=reason, at=at))
        for _, write in planned:
            self._apply(write)
        return tuple(stored for stored, _ in planned)

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

    async def watch(self) -> AsyncGenerator[PolicySnapshot, None]:
        """Yield the current snapshot, then a new one after each change; changes in quick succession may come as one."""
        seen = -1
        while True:
            changed = self._changed
            if self._epoch > seen:
                seen = self._epoch
                yield await self.snapshot()
            else:
                await changed.wait()

    def _standing(self, model: str) -> Standing:
        revisions = self._revisions.get(model)
        return Standing(
            current=self._policies.get(model),
            last_revision=revisions[-1].revision if revisions else 0,
            last_entry=self._audit[-1] if self._audit else None,
            epoch=self._epoch,
        )

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
        # Wake everybody who waits, and have the next ones wait on a fresh event.
        self._changed.set()
        self._changed = asyncio.Event()
