"""What a write of policies changes, worked out from what stands: the rules that every policy store shares. No I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from router.policy.audit import AuditEntry, next_entry
from router.policy.document import Policy, parse_policy, to_document
from router.ports import PolicyChange, RevisionConflict, StoredPolicy
from serving.protocol.errors import invalid, not_found

#: How many revisions of one model are kept for `revisions`, rollback and undo.
KEPT_REVISIONS = 1000


class CurrentPolicy(msgspec.Struct, frozen=True):
    """What a store holds of one model when a write begins."""

    stored: StoredPolicy | None
    last_revision: int
    """Highest revision that the model ever had, 0 for none: outlives a delete, so that numbers are not reused."""


class StoreState(msgspec.Struct, frozen=True):
    """What a store holds when a write begins, as far as the write depends on it."""

    policies: Mapping[str, CurrentPolicy]
    """Of every model that the write changes."""
    last_entry: AuditEntry | None
    epoch: int


class Write(msgspec.Struct, frozen=True):
    """What one change makes a store hold. All writes of a plan must take effect, or none."""

    model: str
    stored: StoredPolicy | None
    """None: the policy is removed."""
    entry: AuditEntry
    epoch: int


class SingleWrites(ABC):
    """`put` and `delete` of a `PolicyStore`: each is a `write` of one change."""

    @abstractmethod
    async def write(
        self, changes: Sequence[PolicyChange], *, actor: str, reason: str, at: float
    ) -> Sequence[StoredPolicy | None]:
        """Make several changes, all of them or none."""

    async def put(self, policy: Policy, *, expected_revision: int, actor: str, reason: str, at: float) -> StoredPolicy:
        """Write a revision if the current one is `expected_revision` (0: there is none); else `RevisionConflict`."""
        change = PolicyChange(policy.model, policy, expected_revision)
        (stored,) = await self.write((change,), actor=actor, reason=reason, at=at)
        assert stored is not None, "a policy was written"
        return stored

    async def delete(self, model: str, *, expected_revision: int, actor: str, reason: str, at: float) -> None:
        """Remove a policy, under the same condition as `put`."""
        await self.write((PolicyChange(model, None, expected_revision),), actor=actor, reason=reason, at=at)


def plan_writes(
    state: StoreState, changes: Sequence[PolicyChange], *, actor: str, reason: str, at: float
) -> tuple[Write, ...]:
    """Work out what the changes write, in their order, each audit entry linked to the one before.

    The models are distinct, see `check_distinct`.

    Raises:
        RevisionConflict: another revision stands than expected.
        ServingError: NOT_FOUND, there is nothing to remove; INVALID, the policy is one that nobody could read back.
    """
    writes: list[Write] = []
    for change in changes:
        current = state.policies[change.model]
        stored = _next_policy(current, change, actor=actor, reason=reason, at=at)
        entry = next_entry(
            state.last_entry,
            at=at,
            actor=actor,
            action=change.action or ("policy.delete" if stored is None else "policy.put"),
            reason=reason,
            model=change.model,
            before=_audited(current.stored),
            after=_audited(stored),
        )
        # Tied to the clock, the epoch goes on growing when a store comes back empty or from an old backup. A plain
        # counter would start again below what routers have seen: they would refuse every policy until it caught up.
        write = Write(change.model, stored, entry, max(state.epoch + 1, int(at * 1000)))
        state = msgspec.structs.replace(state, last_entry=write.entry, epoch=write.epoch)
        writes.append(write)
    return tuple(writes)


def check_distinct(changes: Sequence[PolicyChange]) -> None:
    """Check that no model is changed twice in one write.

    Raises:
        ServingError: INVALID, naming it.
    """
    twice = [model for model, n in Counter(change.model for change in changes).items() if n > 1]
    if twice:
        raise invalid(f"{twice[0]} is changed twice in one write")


def _next_policy(
    current: CurrentPolicy, change: PolicyChange, *, actor: str, reason: str, at: float
) -> StoredPolicy | None:
    actual = current.stored.revision if current.stored else 0
    if actual != change.expected_revision:
        raise RevisionConflict(change.model, change.expected_revision, actual)
    if change.policy is not None:
        _check_readable(change.model, change.policy)
        return StoredPolicy(change.policy, current.last_revision + 1, actor, reason, at, change.restores)
    if current.stored is None:
        raise not_found(f"model {change.model!r} has no policy")
    return None


def _check_readable(model: str, policy: Policy) -> None:
    """Refuse what no process could read back: code may have put a policy together without `parse_policy`."""
    parse_policy(to_document(policy))
    if policy.model != model:
        raise invalid(f"model: the policy is for {policy.model!r} and would be kept as that of {model!r}")


def _audited(stored: StoredPolicy | None) -> dict[str, Any] | None:
    return None if stored is None else {"revision": stored.revision, "policy": to_document(stored.policy)}
