"""What rollouts and the admin API's writes need to be kept, as protocols; adapters fit them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from router.policy.plan import AnyCheck
from router.rollout.evidence import Judgement
from router.rollout.rollout import Rollout


class RolloutConflict(Exception):
    """Somebody else changed the rollout first: read it again."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model


class Note(msgspec.Struct, frozen=True):
    """An act, for the audit log."""

    action: str
    actor: str
    reason: str


class RolloutStore(Protocol):
    """The last rollout of each model and those before it, changed by compare-and-set. May raise `StoreUnavailable`."""

    async def all(self) -> Mapping[str, Rollout]:
        """Read the last rollout of each model."""

    async def get(self, model: str) -> Rollout | None:
        """Read the last rollout of a model."""

    async def put(self, rollout: Rollout, *, note: Note | None = None, at: float = 0.0) -> Rollout:
        """Store a rollout whose `revision` is the one that stands (0 for a new one); return it with its new revision.

        With a note, the act is in the audit log if and only if the rollout is stored. A new one may only follow one
        that is over. Otherwise `RolloutConflict`.
        """

    async def history(self, model: str) -> Sequence[Rollout]:
        """Read the rollouts before the last one, oldest first."""


class RolloutMonitor(Protocol):
    """What is known of a version's predictions and labels, beyond what routers count."""

    async def judgements(self, rollout: Rollout) -> Mapping[AnyCheck, Judgement]:
        """Judge the checks of the plan that routers' counters cannot decide; may raise `StoreUnavailable`."""


class KeptAnswer(msgspec.Struct, frozen=True):
    """What a write with an idempotency key was, and how it was answered."""

    fingerprint: str
    """Of the whole request."""
    status: int = 0
    """0 while it is not answered yet."""
    headers: Mapping[str, str] = {}
    body: bytes = b""


class AnswerStore(Protocol):
    """Answers of writes by idempotency key. May raise `StoreUnavailable`."""

    async def claim(self, key: str, fingerprint: str) -> KeptAnswer | None:
        """Take a key for a request; None when it was free, else what it was taken for."""

    async def keep(self, key: str, answer: KeptAnswer) -> None:
        """Keep the answer for a day."""

    async def release(self, key: str) -> None:
        """Give a key back: its request changed nothing."""
