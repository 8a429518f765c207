"""Asks the webhooks of rollouts, in the background, and remembers what they said."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx

from router.adapters.webhook import WebhookRefused, Webhooks
from router.policy.plan import Gate
from router.rollout.rollout import Rollout

#: Pause before a gate that refused, or did not answer, is asked again.
ASK_AGAIN_S: Final = 10.0
_log = logging.getLogger(__name__)


class Gates:
    """The webhooks of all rollouts. Nothing is stored: a successor asks again, and gates must bear that."""

    def __init__(self, webhooks: Webhooks, clock: Callable[[], float]) -> None:
        self._webhooks = webhooks
        self._clock = clock
        self._answers: dict[str, dict[str, bool]] = {}
        self._asked_at: dict[tuple[str, str], float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def answers(self, rollout: Rollout) -> Mapping[str, bool]:
        """What has been answered so far, by key."""
        return self._answers.get(rollout.id, {})

    def ask(self, rollout: Rollout, kind: str, key: str) -> None:
        """Have every gate of a kind asked, unless that was done a moment ago; all must confirm."""
        now = self._clock()
        if 0 <= now - self._asked_at.get((rollout.id, key), -ASK_AGAIN_S) < ASK_AGAIN_S:
            return
        self._asked_at[rollout.id, key] = now
        self._start(self._ask_all(rollout, kind, key))

    def tell(self, rollout: Rollout) -> None:
        """Tell every `event` webhook where the rollout stands; a failure is logged and nothing else."""
        self._start(self._ask_all(rollout, "event", f"event:{rollout.revision}"))

    def forget(self, rollout: Rollout) -> None:
        """Drop what is known of a rollout that is over."""
        self._answers.pop(rollout.id, None)
        for known in [each for each in self._asked_at if each[0] == rollout.id]:
            del self._asked_at[known]

    async def close(self) -> None:
        """Give up what is being asked."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, asking: Any) -> None:
        task = asyncio.create_task(asking)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_all(self, rollout: Rollout, kind: str, key: str) -> None:
        gates = [gate for gate in rollout.plan.gates if gate.kind == kind]
        confirmed = await asyncio.gather(*(self._ask(rollout, gate) for gate in gates))
        if kind != "event":
            self._answers.setdefault(rollout.id, {})[key] = all(confirmed)

    async def _ask(self, rollout: Rollout, gate: Gate) -> bool:
        now = self._clock()
        body = {
            "kind": gate.kind,
            "rollout": rollout.id,
            "model": rollout.model,
            "version": rollout.version,
            "stable_version": rollout.stable_version,
            "phase": rollout.phase.value,
            "share_bp": rollout.share_bp,
            "words": rollout.words,
            "at": now,
        }
        try:
            status = await self._webhooks.post(
                gate.url, body, delivery=uuid.uuid4().hex, at=now, timeout_s=gate.timeout_s
            )
            return httpx.codes.is_success(status)
        except (WebhookRefused, httpx.HTTPError, OSError, TimeoutError) as error:
            _log.warning(
                "%s of rollout %s: %s: %s", gate.kind, rollout.id, gate.url, str(error) or type(error).__name__
            )
            return False
