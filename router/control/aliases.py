"""Keeps variants at the version that an alias of the registry points to.

A variant with an `alias` follows it: when the alias moves, the new version is made ready first, and only then does the
policy change, as one more revision with its own audit entry. A version that cannot be made ready changes nothing; it is
tried again when the alias moves again, or after a while.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

import msgspec

from router.policy.document import Policy
from router.ports import (
    PolicySnapshot,
    PolicyStore,
    RevisionConflict,
    StoredPolicy,
    StoreUnavailable,
    VersionManager,
    VersionUnready,
)
from serving.protocol.errors import ServingError

ACTOR: Final = "registry"
#: How long a version that could not be made ready is left alone.
RETRY_AFTER_S: Final = 60.0
_log = logging.getLogger(__name__)

Alias = tuple[str, str]
"""Model and alias."""


class Aliases(Protocol):
    """Where aliases point; raises `ServingError` when it cannot tell."""

    async def aliased(self, model: str, alias: str) -> int:
        """Find the version of an alias."""


class Move(NamedTuple):
    """A policy that an alias wants changed."""

    policy: Policy
    versions: frozenset[int]
    """What must be ready first."""
    reason: str


def aliases_of(snapshot: PolicySnapshot) -> frozenset[Alias]:
    """List the aliases that policies follow."""
    return frozenset(
        (model, variant.alias)
        for model, stored in snapshot.policies.items()
        for variant in stored.policy.variants
        if variant.alias
    )


def move_of(stored: StoredPolicy, pointed: Mapping[Alias, int]) -> Move | None:
    """Find what a policy should become; None when it is at its aliases already, or they are unknown."""
    policy = stored.policy
    wanted = {
        variant.name: pointed.get((policy.model, variant.alias or ""), variant.version) for variant in policy.variants
    }
    moved = [variant for variant in policy.variants if wanted[variant.name] != variant.version]
    if not moved:
        return None
    variants = tuple(msgspec.structs.replace(each, version=wanted[each.name]) for each in policy.variants)
    reason = "; ".join(f"alias {each.alias} moved: {each.version} → {wanted[each.name]}" for each in moved)
    changed = msgspec.structs.replace(policy, variants=variants)
    return Move(changed, frozenset(wanted[each.name] for each in moved), reason)


class AliasFollower:
    """Looks where aliases point, every `poll_s` and whenever it is nudged, and moves policies after them."""

    def __init__(
        self,
        store: PolicyStore,
        versions: VersionManager,
        aliases: Aliases,
        *,
        poll_s: float,
        ready_timeout_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._versions = versions
        self._aliases = aliases
        self._poll_s = poll_s
        self._ready_timeout_s = ready_timeout_s
        self._clock = clock
        self._nudged = asyncio.Event()
        self._unready: dict[tuple[str, int], float] = {}
        """When a version may be tried again."""
        self._away: str | None = None

    def nudge(self) -> None:
        """Look now: somebody says that an alias has moved."""
        self._nudged.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._nudged.wait()
            except TimeoutError:
                pass
            self._nudged.clear()
            try:
                await self.turn()
            except StoreUnavailable as error:
                _log.warning("Aliases are not followed: %s", error)
            except Exception:  # noqa: BLE001 - a follower that ends follows nothing
                _log.exception("Following aliases failed")

    async def turn(self) -> None:
        """Look once, and move what has to be moved."""
        snapshot = await self._store.snapshot()
        pointed = await self._look(aliases_of(snapshot))
        for stored in snapshot.policies.values():
            move = move_of(stored, pointed)
            if move is not None:
                await self._carry_out(stored, move)

    async def _look(self, aliases: frozenset[Alias]) -> dict[Alias, int]:
        """Ask for each alias; one that is unknown, or a registry that is away, leaves its variants where they are."""
        pointed: dict[Alias, int] = {}
        problem = None
        for model, alias in sorted(aliases):
            try:
                pointed[model, alias] = await self._aliases.aliased(model, alias)
            except ServingError as error:
                problem = str(error)
        if problem != self._away:  # said once, not at each poll
            _log.warning("Aliases: %s", problem or "all are known again")
            self._away = problem
        return pointed

    async def _carry_out(self, stored: StoredPolicy, move: Move) -> None:
        model, now = move.policy.model, self._clock()
        if any(self._unready.get((model, version), 0.0) > now for version in move.versions):
            return
        try:
            for version in sorted(move.versions):
                await self._versions.ensure_ready(model, version, timeout_s=self._ready_timeout_s)
            await self._store.put(
                move.policy, expected_revision=stored.revision, actor=ACTOR, reason=move.reason, at=now
            )
        except RevisionConflict:
            self._nudged.set()  # somebody else wrote: look again at what stands now
        except (VersionUnready, ServingError) as error:
            reason = error.status.reason if isinstance(error, VersionUnready) else str(error)
            _log.warning("%s stays as it is although its %s: %s", model, move.reason, reason)
            self._unready.update({(model, version): now + RETRY_AFTER_S for version in move.versions})
