"""Rollouts and kept answers in memory: for tests, and for embedding a gateway that needs no other process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from router.adapters.rollout_write import KEPT_ROLLOUTS, entry_of, plan_rollout
from router.ports import PolicyStore
from router.rollout.rollout import Rollout
from router.rollout_ports import KeptAnswer, Note


class MemoryRolloutStore:
    """A `RolloutStore` that lives and dies with its process; its notes go to the audit log of `policies`."""

    def __init__(self, policies: PolicyStore) -> None:
        self._policies = policies
        self._last: dict[str, Rollout] = {}
        self._history: dict[str, list[Rollout]] = defaultdict(list)

    async def all(self) -> Mapping[str, Rollout]:
        """Read the last rollout of each model."""
        return dict(self._last)

    async def get(self, model: str) -> Rollout | None:
        """Read the last rollout of a model."""
        return self._last.get(model)

    async def put(self, rollout: Rollout, *, note: Note | None = None, at: float = 0.0) -> Rollout:
        """Store a rollout whose `revision` is the one that stands; else `RolloutConflict`."""
        current = self._last.get(rollout.model)
        write = plan_rollout(current, rollout)
        self._last[rollout.model] = write.rollout
        if write.retired is not None:
            kept = self._history[rollout.model]
            kept.append(write.retired)
            del kept[:-KEPT_ROLLOUTS]
        if note is not None:
            entry = entry_of(None, current, write.rollout, note, at)
            await self._policies.note(
                action=entry.action,
                actor=entry.actor,
                reason=entry.reason,
                model=entry.model,
                before=entry.before,
                after=entry.after,
                at=at,
            )
        return write.rollout

    async def history(self, model: str) -> Sequence[Rollout]:
        """Read the rollouts before the last one, oldest first."""
        return tuple(self._history.get(model, ()))


class MemoryAnswerStore:
    """An `AnswerStore` that lives and dies with its process."""

    def __init__(self) -> None:
        self._answers: dict[str, KeptAnswer] = {}

    async def claim(self, key: str, fingerprint: str) -> KeptAnswer | None:
        """Take a key; None when it was free."""
        known = self._answers.get(key)
        if known is None:
            self._answers[key] = KeptAnswer(fingerprint)
        return known

    async def keep(self, key: str, answer: KeptAnswer) -> None:
        """Keep the answer."""
        self._answers[key] = answer

    async def release(self, key: str) -> None:
        """Give a key back."""
        self._answers.pop(key, None)
