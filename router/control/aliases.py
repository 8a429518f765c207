"""Keeps variants at the version that an alias of the registry points to.

A variant with an `alias` follows it. When the alias moves, the policy says how: by a swap, for which the new version is
made ready first and the policy changes then, as one more revision; or by a rollout, as an operator would start it. A
version that cannot be made ready, that failed its rollout, or that was rolled back changes nothing: the variant stays
where it is, and `concerns` says why, until the alias moves on or somebody moves the traffic by hand.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from router.cancellation import end_if_cancelled
from router.policy.actors import REGISTRY
from router.policy.following import Alias, Move, aliases_of, moves_of, swapped
from router.policy.history import taken_back
from router.policy.plan import Plan
from router.ports import PolicyStore, RevisionConflict, StoredPolicy, StoreUnavailable, VersionManager, VersionUnready
from router.rollout.operator_acts import frozen_until
from router.rollout.phase import Phase
from router.rollout.rollout import Rollout, begin
from router.rollout_ports import Note, RolloutConflict, RolloutStore
from serving.protocol.errors import ServingError

#: How long a version that could not be made ready is left alone.
RETRY_AFTER_S: Final = 60.0
_log = logging.getLogger(__name__)


class Aliases(Protocol):
    """Where aliases point; raises `ServingError` when it cannot tell."""

    async def aliased(self, model: str, alias: str) -> int:
        """Find the version of an alias."""


class AliasFollower:
    """Looks where aliases point, every `poll_s` and whenever it is nudged, and moves policies after them."""

    def __init__(
        self,
        store: PolicyStore,
        rollouts: RolloutStore,
        versions: VersionManager,
        aliases: Aliases,
        *,
        begun: Callable[[], None],
        poll_s: float,
        ready_timeout_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._rollouts = rollouts
        self._versions = versions
        self._aliases = aliases
        self._begun = begun
        """Tells the controller of rollouts that there is a new one."""
        self._poll_s = poll_s
        self._ready_timeout_s = ready_timeout_s
        self._clock = clock
        self._nudged = asyncio.Event()
        self._unready: dict[tuple[str, int], tuple[float, str]] = {}
        """When a version may be tried again, and why it was not ready."""
        self._concerns: dict[str, str] = {}
        """By what they are about: a model and alias, or a model."""

    def nudge(self) -> None:
        """Look now: somebody says that an alias has moved."""
        self._nudged.set()

    def concerns(self) -> Sequence[str]:
        """Say which variants are not where their alias points, or whose alias is unknown, and why."""
        return [f"{about}: {words}" for about, words in sorted(self._concerns.items())]

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            end_if_cancelled()
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
        before, self._concerns = self._concerns, {}
        pointed = await self._look(aliases_of(stored.policy for stored in snapshot.policies.values()))
        for stored in snapshot.policies.values():
            moves = moves_of(stored.policy, pointed)
            if moves:
                await self._follow(stored, moves)
        for about, words in self._concerns.items():
            if before.get(about) != words:  # said once, not at each poll
                _log.warning("%s: %s", about, words)

    async def _look(self, aliases: frozenset[Alias]) -> dict[Alias, int]:
        """Ask for each alias; one that is unknown, or a registry that is away, leaves its variants where they are."""
        pointed: dict[Alias, int] = {}
        for model, alias in sorted(aliases):
            try:
                pointed[model, alias] = await self._aliases.aliased(model, alias)
            except ServingError as error:
                self._concerns[f"{model}@{alias}"] = f"not followed: {error}"
        return pointed

    async def _follow(self, stored: StoredPolicy, moves: Sequence[Move]) -> None:
        """Make the moves of one policy that nothing speaks against; swaps first, then one rollout."""
        model = stored.policy.model
        last = await self._rollouts.get(model)
        if last is not None and not last.is_over:
            if any(move.version != last.version for move in moves):
                self._concerns[model] = f"{moves[0].words}; it waits for the rollout of version {last.version}"
            return
        gone = taken_back(await self._store.revisions(model))
        free = [move for move in moves if not self._stays(model, move, gone, last)]
        swaps = [move for move in free if move.variant.on_move == "swap"]
        if swaps:
            await self._swap(stored, swaps)
        elif free:
            await self._roll_out(stored, free[0], last)

    def _stays(self, model: str, move: Move, gone: frozenset[int], last: Rollout | None) -> bool:
        """Tell whether something speaks against a move, and say what."""
        until, reason = self._unready.get((model, move.version), (0.0, ""))
        words = ""
        if last is not None and last.version == move.version and last.phase is not Phase.SUCCEEDED:
            words = f"its rollout {last.phase}: {last.words}"
        elif last is not None and _is_behind(move, last):
            words = last.words
        elif move.version in gone:
            words = f"version {move.version} was rolled back"
        elif until > self._clock():
            words = reason
        if words:
            self._concerns[f"{model}@{move.variant.alias}"] = (
                f"{move.words}; {words}; it stays at {move.variant.version}"
            )
        return bool(words)

    async def _swap(self, stored: StoredPolicy, moves: Sequence[Move]) -> None:
        model, now = stored.policy.model, self._clock()
        reason = "; ".join(move.words for move in moves)
        try:
            for version in sorted({move.version for move in moves}):
                await self._versions.ensure_ready(model, version, timeout_s=self._ready_timeout_s)
            policy = swapped(stored.policy, moves)
            await self._store.put(policy, expected_revision=stored.revision, actor=REGISTRY, reason=reason, at=now)
        except RevisionConflict:
            self._nudged.set()  # somebody else wrote: look again at what stands now
        except (VersionUnready, ServingError) as error:
            why = error.status.reason if isinstance(error, VersionUnready) else str(error)
            for move in moves:
                self._unready[model, move.version] = (now + RETRY_AFTER_S, why)
                self._stays(model, move, frozenset(), None)

    async def _roll_out(self, stored: StoredPolicy, move: Move, last: Rollout | None) -> None:
        model, now, alias = stored.policy.model, self._clock(), str(move.variant.alias)
        if now < frozen_until(last):
            wait_s = frozen_until(last) - now
            self._concerns[f"{model}@{alias}"] = (
                f"{move.words}; after a rollback the model waits another {wait_s:.0f} s"
            )
            return
        try:
            rollout = begin(
                id=f"r{uuid.uuid4().hex[:12]}",
                version=move.version,
                plan=move.variant.plan or Plan(),
                policy=stored.policy,
                policy_revision=stored.revision,
                actor=REGISTRY,
                reason=move.words,
                now=now,
                alias=alias,
            )
            await self._rollouts.put(rollout, note=Note("rollout.start", REGISTRY, move.words), at=now)
        except RolloutConflict:
            self._nudged.set()
        except ServingError as error:
            self._concerns[f"{model}@{alias}"] = f"{move.words}; {error}; it stays at {move.variant.version}"
        else:
            self._begun()


def _is_behind(move: Move, last: Rollout) -> bool:
    """Tell whether an alias points to what was replaced because the registry could not be told of the promotion."""
    is_untold = last.phase is Phase.SUCCEEDED and not last.registry_written
    return is_untold and (move.variant.version, move.version) == (last.version, last.stable_version)
