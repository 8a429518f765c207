"""What one write of a rollout changes, worked out from what stands: rules that all rollout stores share. No I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from router.policy.audit import AuditEntry, next_entry
from router.rollout.rollout import Rollout
from router.rollout_ports import Note, RolloutConflict

#: Rollouts kept of one model beside the last.
KEPT_ROLLOUTS = 100


class RolloutWrite(msgspec.Struct, frozen=True):
    """What a store must make true, all of it or nothing."""

    rollout: Rollout
    """With its new revision."""
    retired: Rollout | None
    """The rollout before it, when this one is new: it becomes history."""


def plan_rollout(current: Rollout | None, rollout: Rollout) -> RolloutWrite:
    """Work out a write.

    Raises:
        RolloutConflict: the record was changed since it was read, or a new one would end one that is not over.
    """
    is_new = current is None or current.id != rollout.id
    if is_new and (rollout.revision or (current is not None and not current.is_over)):
        raise RolloutConflict(rollout.model)
    if current is not None and not is_new and current.revision != rollout.revision:
        raise RolloutConflict(rollout.model)
    numbered = msgspec.structs.replace(rollout, revision=rollout.revision + 1)
    return RolloutWrite(numbered, current if is_new else None)


def entry_of(last: AuditEntry | None, current: Rollout | None, rollout: Rollout, note: Note, at: float) -> AuditEntry:
    """Make the audit entry of an act on a rollout."""
    same = current is not None and current.id == rollout.id
    return next_entry(
        last,
        at=at,
        actor=note.actor,
        action=note.action,
        reason=note.reason,
        model=rollout.model,
        before=_audited(current) if current is not None and same else None,
        after=_audited(rollout),
    )


def _audited(rollout: Rollout) -> dict[str, Any]:
    return {
        "rollout": rollout.id,
        "version": rollout.version,
        "phase": rollout.phase.value,
        "share_bp": rollout.share_bp,
        "revision": rollout.policy_revision,
    }
