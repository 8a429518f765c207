"""The automatic rollback: the same way back as an operator's, through the policy store, and into its audit log."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

from router.monitor.incident import Transition
from router.policy.actors import MONITOR
from router.policy.document import Policy
from router.policy.history import last_good
from router.ports import PolicyChange, PolicyStore, RevisionConflict, StoredPolicy, VersionStatus
from router.rollout import operator_acts
from router.rollout_ports import Note, RolloutConflict, RolloutStore
from serving.protocol.errors import ServingError


class Board(Protocol):
    """Where it says which versions are ready."""

    async def read(self) -> Sequence[VersionStatus]:
        """Read the board."""


class Rollback:
    """Takes traffic from a version, whatever gave it to it."""

    def __init__(self, policies: PolicyStore, rollouts: RolloutStore, board: Board) -> None:
        self._policies = policies
        self._rollouts = rollouts
        self._board = board

    async def policy(self, model: str) -> Policy | None:
        """Look how requests reach the versions of a model now; None where it has no policy."""
        stored = await self._policies.get(model)
        return stored.policy if stored is not None else None

    async def target(self, model: str, version: int) -> int | None:
        """Look what could answer clients instead of a version.

        Returns:
            The heaviest version of the policy to go back to; None when the version answers no clients, when there is
            nothing to go back to, or when one of that policy's versions is not ready.
        """
        revisions = await self._policies.revisions(model)
        stored = await self._policies.get(model)
        if stored is None or not _serves(stored, version):
            return None
        good = last_good(revisions)
        if good is None or _serves(good, version):
            return None
        variants = [variant for variant in good.policy.variants if variant.weight]
        ready = {each.version for each in await self._board.read() if each.model == model and each.serves}
        if not {variant.version for variant in variants} <= ready:
            return None
        return max(variants, key=lambda variant: variant.weight).version

    async def perform(self, transition: Transition, now: float) -> bool:
        """Take a step back; true when the version has no traffic (any more), so that repeating it does nothing."""
        incident = transition.incident
        stored = await self._policies.get(incident.model)
        if stored is None or not _serves(stored, incident.version):
            return True
        reason = f"incident {incident.id}: {incident.severity}"
        rollout = await self._rollouts.get(incident.model)
        if rollout is not None and not rollout.is_over:
            # A refusal means that the rollout is being given up already; a conflict, that somebody was faster.
            with contextlib.suppress(ServingError, RolloutConflict):
                aborted = operator_acts.abort(rollout, stored.policy, now, actor=MONITOR, reason=reason)
                await self._rollouts.put(aborted, note=Note("rollout.abort", MONITOR, reason), at=now)
            return False
        good = last_good(await self._policies.revisions(incident.model))
        if good is None or _serves(good, incident.version):
            return False
        change = PolicyChange(incident.model, good.policy, stored.revision, good.revision, "policy.rollback")
        with contextlib.suppress(RevisionConflict):  # looked at anew by the next step
            await self._policies.write([change], actor=MONITOR, reason=reason, at=now)
        return False


def _serves(stored: StoredPolicy, version: int) -> bool:
    return any(variant.version == version and variant.weight for variant in stored.policy.variants)
