"""What one write of a policy changes, worked out from what stands: the rules that every policy store shares. No I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from router.policy.audit import AuditEntry, next_entry
from router.policy.document import Policy, to_document
from router.ports import RevisionConflict, StoredPolicy
from serving.protocol.errors import not_found

#: How many revisions of one model are kept for `revisions`, rollback and undo.
KEPT_REVISIONS = 1000


class Standing(msgspec.Struct, frozen=True):
    """What a store holds when a write begins, as far as the write depends on it."""

    current: StoredPolicy | None
    last_revision: int
    """Highest revision that the model ever had, 0 for none: outlives a delete, so that numbers are not reused."""
    last_entry: AuditEntry | None
    epoch: int


class Write(msgspec.Struct, frozen=True):
    """What a store must make true, all of it or nothing."""

    model: str
    stored: StoredPolicy | None
    """None: the policy is removed."""
    entry: AuditEntry
    epoch: int


def plan_put(
    standing: Standing, policy: Policy, *, expected_revision: int, actor: str, reason: str, at: float
) -> tuple[StoredPolicy, Write]:
    """Work out a new revision; raises `RevisionConflict` when another stands than expected."""
    _check_revision(standing, policy.model, expected_revision)
    stored = StoredPolicy(policy, standing.last_revision + 1, actor, reason, at)
    return stored, _write(standing, policy.model, stored, action="policy.put", actor=actor, reason=reason, at=at)


def plan_delete(standing: Standing, model: str, *, expected_revision: int, actor: str, reason: str, at: float) -> Write:
    """Work out a removal; raises `RevisionConflict`, or `ServingError(NOT_FOUND)` when there is nothing to remove."""
    _check_revision(standing, model, expected_revision)
    if standing.current is None:
        raise not_found(f"model {model!r} has no policy")
    return _write(standing, model, None, action="policy.delete", actor=actor, reason=reason, at=at)


def _check_revision(standing: Standing, model: str, expected: int) -> None:
    actual = standing.current.revision if standing.current else 0
    if actual != expected:
        raise RevisionConflict(model, expected, actual)


def _write(
    standing: Standing, model: str, stored: StoredPolicy | None, *, action: str, actor: str, reason: str, at: float
) -> Write:
    entry = next_entry(
        standing.last_entry,
        at=at,
        actor=actor,
        action=action,
        reason=reason,
        model=model,
        before=_audited(standing.current),
        after=_audited(stored),
    )
    # Tied to the clock, the epoch goes on growing when a store comes back empty or from an old backup. A plain counter
    # would start again below what routers have seen, and they would refuse every policy until it caught up.
    return Write(model, stored, entry, max(standing.epoch + 1, int(at * 1000)))


def _audited(stored: StoredPolicy | None) -> dict[str, Any] | None:
    return None if stored is None else {"revision": stored.revision, "policy": to_document(stored.policy)}
