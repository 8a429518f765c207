"""Tells the registry what became of rollouts: the alias and tags of a promoted version, and why another failed.

A registry that is away, or takes no word of ours, holds up no rollout: the attempt fails aloud and is made again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from router.rollout.rollout import CHAMPION, Rollout
from serving.protocol.errors import ErrorKind, ServingError

#: Pause before the next attempt: while the rollout waits for it, and after it has ended without.
RETRY_S: Final = 5.0
RETRY_ENDED_S: Final = 60.0
#: How long after its end the registry is still told of a promotion.
TELL_FOR_S: Final = 86_400.0
_log = logging.getLogger(__name__)


class Registry(Protocol):
    """The part of the catalogue that promotions write to; its methods may raise `ServingError`."""

    async def aliased(self, model: str, alias: str) -> int:
        """Find the version of an alias; NOT_FOUND when there is none."""

    async def name(self, model: str, alias: str, version: int, tags: Mapping[str, str]) -> None:
        """Let an alias point to a version, with tags."""

    async def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Tag a version."""


class Promotions:
    """What the registry has been told, and why not. Forgotten by a restart, after which it is told again."""

    def __init__(self, registry: Registry, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._clock = clock
        self._told: set[str] = set()
        self._troubles: dict[str, str] = {}
        """By rollout, why the last attempt failed."""

    def is_told(self, rollout: Rollout) -> bool:
        """Tell whether the registry knows of the promotion."""
        return rollout.id in self._told

    def trouble(self, rollout: Rollout) -> str:
        """Say why it does not; empty before the first attempt has ended."""
        return self._troubles.get(rollout.id, "")

    async def tell(self, rollout: Rollout) -> None:
        """Make one attempt; ends after a pause when it has failed."""
        tags = {
            "model_shepherd.promoted_by": rollout.writer,
            "model_shepherd.promoted_at": f"{self._clock():.0f}",
            "model_shepherd.replaced": str(rollout.stable_version),
            "model_shepherd.reason": rollout.reason,
            "model_shepherd.evidence": "; ".join(finding.words for finding in rollout.findings) or "none asked for",
        }
        try:
            if not rollout.is_over or await self._is_where_it_was(rollout):
                await self._registry.name(rollout.model, CHAMPION, rollout.version, tags)
        except Exception as error:  # noqa: BLE001 - whatever it is, the rollout does not wait for it
            is_foreseen = isinstance(error, ServingError)
            words = str(error) if is_foreseen else f"{type(error).__name__}: {error}"
            if self._troubles.get(rollout.id) != words:  # said once, not at each attempt
                _log.warning(
                    "Promotion of %s version %s: %s; trying again", *_key(rollout), words, exc_info=not is_foreseen
                )
            self._troubles[rollout.id] = words
            await asyncio.sleep(RETRY_ENDED_S if rollout.is_over else RETRY_S)
        else:
            self._troubles.pop(rollout.id, None)
            self._told.add(rollout.id)

    async def _is_where_it_was(self, rollout: Rollout) -> bool:
        """Tell whether nobody has moved the alias since: what somebody else has set, perhaps for us, stays.

        One that points to another older version has lagged behind before: shares raised by hand move no alias.
        """
        try:
            pointed = await self._registry.aliased(rollout.model, CHAMPION)
            return pointed == rollout.stable_version or pointed < rollout.version
        except ServingError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return True

    async def tell_failure(self, rollout: Rollout) -> None:
        """Make one attempt to write down why a version failed."""
        tags = {"model_shepherd.rolled_back_by": rollout.writer, "model_shepherd.rolled_back_because": rollout.words}
        try:
            await self._registry.tag(rollout.model, rollout.version, tags)
        except ServingError as error:
            _log.warning("%s version %s: its failure is not in the registry: %s", *_key(rollout), error)

    def forget(self, rollout: Rollout) -> None:
        """Drop what is known of a rollout that is over and done with."""
        self._told.discard(rollout.id)
        self._troubles.pop(rollout.id, None)


def _key(rollout: Rollout) -> tuple[str, int]:
    return rollout.model, rollout.version
