"""How the admin API shows policies, versions and audit entries: plain JSON values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from router.admin.problems import Problem
from router.policy.document import to_document
from router.policy.plan import plan_document
from router.ports import StoredPolicy, VersionStatus
from router.rollout.evidence import Judgement
from router.rollout.operator_acts import allowed, frozen_until
from router.rollout.rollout import Rollout

#: What a policy answer holds beside the document; ignored in a body, so that an answer can be edited and sent back.
READ_ONLY = frozenset({"revision", "actor", "at", "restores"})


def show_policy(stored: StoredPolicy) -> dict[str, Any]:
    """Show a policy: its document, and beside it who wrote which revision, when (Unix seconds) and why."""
    return to_document(stored.policy) | {
        "revision": stored.revision,
        "actor": stored.actor,
        "reason": stored.reason,
        "at": stored.at,
        **({"restores": stored.restores} if stored.restores else {}),
    }


def show_version(status: VersionStatus) -> dict[str, Any]:
    """Show where a version stands and the processes that serve it."""
    shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(status))
    return shown


def show_rollout(rollout: Rollout, findings: Sequence[Judgement] = ()) -> dict[str, Any]:
    """Show a rollout: where it stands and why, its plan, what the checks say, and how it came there."""
    shown: dict[str, Any] = {
        "id": rollout.id,
        "model": rollout.model,
        "version": rollout.version,
        "stable_version": rollout.stable_version,
        "phase": rollout.phase.value,
        "share_bp": rollout.share_bp,
        "step": rollout.step,
        "words": rollout.words,
        "actor": rollout.actor,
        "reason": rollout.reason,
        "incident": rollout.incident or None,
        "created_at": rollout.created_at,
        "ended_at": rollout.ended_at or None,
        "frozen_until": frozen_until(rollout) or None,
        "policy_revision": rollout.policy_revision,
        "good_revision": rollout.good_revision,
        "plan": plan_document(rollout.plan),
        "acts": allowed(rollout),
        "findings": msgspec.to_builtins(tuple(findings or rollout.findings)),
        "moments": msgspec.to_builtins(rollout.moments),
    }
    return shown


def show_models(statuses: Iterable[VersionStatus]) -> list[dict[str, Any]]:
    """Group versions by model, both in order."""
    models: dict[str, list[dict[str, Any]]] = {}
    for status in sorted(statuses, key=lambda each: (each.model, each.version)):
        models.setdefault(status.model, []).append(show_version(status))
    return [{"name": name, "versions": versions} for name, versions in models.items()]


def split_reason(body: Mapping[str, Any], header: str | None) -> tuple[dict[str, Any], str]:
    """Part a write's body into the document and the reason; a header's reason goes before the body's.

    Raises:
        Problem: 400, no reason is given: the audit log would be worth little without.
    """
    document = {key: value for key, value in body.items() if key not in READ_ONLY and key != "reason"}
    reason = header if header is not None else body.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        raise Problem(
            "invalid-request", "reason: required, in the body's reason or in X-Shepherd-Reason", field="reason"
        )
    return document, reason.strip()


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396): null removes, objects merge, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
