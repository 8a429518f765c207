"""What one write of a policy changes, worked out from what stands: the rules that every policy store shares. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from router.policy.audit import AuditEntry, next_entry
from router.policy.document import Policy, parse_policy, to_document
from router.ports import PolicyChange, RevisionConflict, StoredPolicy
from serving.protocol.errors import invalid, not_found

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


def plan_change(
    standing: Standing, change: PolicyChange, *, actor: str, reason: str, at: float
) -> tuple[StoredPolicy | None, Write]:
    """Work out one change.

    Raises:
        RevisionConflict: another revision stands than expected.
        ServingError: NOT_FOUND, there is nothing to remove; INVALID, the policy is one that nobody could read back.
    """
    _check_revision(standing, change.model, change.expected_revision)
    if change.policy is not None:
        _check_readable(change.model, change.policy)
    if change.policy is None and standing.current is None:
        raise not_found(f"model {change.model!r} has no policy")
    stored = (
        StoredPolicy(change.policy, standing.last_revision + 1, actor, reason, at, change.restores)
        if change.policy is not None
        else None
    )
    action = change.action or ("policy.delete" if stored is None else "policy.put")
    return stored, _write(standing, change.model, stored, action=action, actor=actor, reason=reason, at=at)


def check_distinct(changes: Sequence[PolicyChange]) -> None:
    """Check that no model is changed twice in one write.

    Raises:
        ServingError: INVALID, naming it.
    """
    twice = [model for model, n in Counter(change.model for change in changes).items() if n > 1]
    if twice:
        raise invalid(f"{twice[0]} is changed twice in one write")


def _check_readable(model: str, policy: Policy) -> None:
    """Refuse what no process could read back: code may have put a policy together without `parse_policy`."""
    parse_policy(to_document(policy))
    if policy.model != model:
        raise invalid(f"model: the policy is for {policy.model!r} and would be kept as that of {model!r}")


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
