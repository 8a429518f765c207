"""The shell around the rollout core: looks, lets it decide, stores the decision, then acts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from router.control.gates import Gates
from router.control.hard_watch import HardWatch
from router.ports import PolicyChange, PolicyStore, RevisionConflict, StoreUnavailable, VersionStatus, VersionUnready
from router.rollout.advance import advance
from router.rollout.counters import read_counters
from router.rollout.evidence import Counters, Judgement, Observation
from router.rollout.phase import EXPOSED, Phase
from router.rollout.rollout import CHAMPION, Rollout
from router.rollout.writes import AskGates, Command, KeepTrying, LoadVersion, SetPolicy, Turn, WriteRegistry
from router.rollout_ports import Note, RolloutConflict, RolloutMonitor, RolloutStore
from serving.protocol.errors import ServingError
from serving.telemetry.folder import read_folder
from serving.telemetry.snapshot import Snapshot

#: Pause between looks while a rollout is on; counters are published every half second.
TURN_S: Final = 0.25
#: The same while there is none.
IDLE_S: Final = 1.0
#: Pause before a registry that was away, or whatever else failed, is tried again.
RETRY_S: Final = 5.0
_ACTIONS: Final = {
    "shadow": "rollout.shadow",
    "step": "rollout.step",
    "promote": "rollout.promote",
    "restore": "rollout.rollback",
}
_log = logging.getLogger(__name__)


class Registry(Protocol):
    """The part of the catalogue that promotions write to."""

    async def name(self, model: str, alias: str, version: int, tags: Mapping[str, str]) -> None:
        """Let an alias point to a version, with tags."""

    async def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Tag a version."""


class Loader(Protocol):
    """The part of the version manager that rollouts need."""

    def status_of(self, model: str, version: int) -> VersionStatus:
        """Say where a version stands; called at every look, so it is cheap."""

    def keep_trying(self, model: str, version: int) -> None:
        """Want a version that will be tried again for as long as if a policy named it now."""

    async def ensure_ready(self, model: str, version: int, *, timeout_s: float) -> VersionStatus:
        """Load a version and wait until it is ready."""


class RolloutLoop:
    """Carries all rollouts on. Holds nothing that is not in the store, save what can be gathered again."""

    def __init__(
        self,
        rollouts: RolloutStore,
        policies: PolicyStore,
        *,
        versions: Loader,
        registry: Registry,
        gates: Gates,
        metrics_dir: Path,
        monitor: RolloutMonitor | None = None,
        ready_timeout_s: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rollouts = rollouts
        self._policies = policies
        self._versions = versions
        self._registry = registry
        self._gates = gates
        self._metrics_dir = metrics_dir
        self._monitor = monitor
        self._ready_timeout_s = ready_timeout_s
        self._clock = clock
        self._watches: dict[str, HardWatch] = {}
        self._findings: dict[str, Sequence[Judgement]] = {}
        self._named: set[str] = set()
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    def findings(self, rollout: Rollout) -> Sequence[Judgement]:
        """What the checks of a rollout say now, or said last."""
        return self._findings.get(rollout.id, rollout.findings)

    def nudge(self) -> None:
        """Look now: somebody has changed a rollout."""
        self._wake.set()

    async def run(self) -> None:
        """Go on until cancelled; a turn that fails is reported, and the next one tries again."""
        is_down = False
        while True:
            busy = False
            try:
                busy = await self.look()
                is_down = False
            except (StoreUnavailable, OSError) as error:
                if not is_down:
                    _log.warning("Rollouts wait: %s", error)
                is_down = True
            except Exception:  # noqa: BLE001 - a controller that ends controls nothing
                _log.exception("A turn of the rollout controller failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_S if busy else IDLE_S):
                    await self._wake.wait()
            self._wake.clear()

    async def close(self) -> None:
        """Let go."""
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._gates.close()

    async def look(self) -> bool:
        """Carry each rollout one turn on; tell whether there is any."""
        active = [rollout for rollout in (await self._rollouts.all()).values() if not rollout.is_over]
        if not active:
            return False
        # Off the loop: it waits for the disk, and for another reader's lock.
        snapshot = (await asyncio.to_thread(read_folder, self._metrics_dir)).snapshot
        for rollout in active:
            await self._turn(rollout, snapshot)
        return True

    async def _turn(self, rollout: Rollout, snapshot: Snapshot) -> None:
        now = self._clock()
        turn = advance(rollout, await self._observe(rollout, snapshot, now), now)
        self._findings[rollout.id] = turn.findings or self._findings.get(rollout.id, ())
        try:
            stored = await self._store(rollout, turn, now)
        except RolloutConflict:
            self.nudge()  # an operator was faster: decide anew
            return
        for command in turn.commands:
            await self._perform(stored, command, now)
        if stored.write is not None:
            self.nudge()  # see it in force at once
        if stored.is_over:
            self._forget(stored)

    async def _observe(self, rollout: Rollout, snapshot: Snapshot, now: float) -> Observation:
        stored = await self._policies.get(rollout.model)
        counters = read_counters(snapshot, rollout.model)
        status = self._versions.status_of(rollout.model, rollout.version)
        return Observation(
            policy=stored.policy if stored else None,
            policy_revision=stored.revision if stored else 0,
            counters=counters,
            candidate_state=status.state,
            candidate_reason=status.reason,
            candidate_retried=status.retried,
            hard_failure=self._watch(rollout, counters, now),
            gates=self._gates.answers(rollout),
            registry_written=rollout.id in self._named,
            monitor=await self._monitor.judgements(rollout) if self._monitor else {},
        )

    def _watch(self, rollout: Rollout, counters: Counters, now: float) -> str:
        """Watch from its first share on: what was counted before were copies and probes."""
        if rollout.phase not in EXPOSED:
            self._watches.pop(rollout.id, None)
            return ""
        watch = self._watches.setdefault(rollout.id, HardWatch(rollout.version))
        return watch.look(counters, now, beside={rollout.stable_version}, began=rollout.origin)

    async def _store(self, before: Rollout, turn: Turn, now: float) -> Rollout:
        """Store what was decided, before anything is done about it."""
        if turn.rollout is before:
            return before
        is_news = turn.rollout.moments != before.moments
        note = Note(f"rollout.{turn.rollout.phase}", before.writer, turn.rollout.words) if is_news else None
        stored = await self._rollouts.put(turn.rollout, note=note, at=now)
        if is_news:
            _log.info("%s version %s is %s: %s", stored.model, stored.version, stored.phase, stored.words)
            self._gates.tell(stored)
        return stored

    async def _perform(self, rollout: Rollout, command: Command, now: float) -> None:
        match command:
            case SetPolicy():
                await self._set_policy(rollout, command, now)
            case LoadVersion(version):
                self._background(rollout, "load", self._load(rollout, version))
            case KeepTrying(version):
                self._versions.keep_trying(rollout.model, version)
            case AskGates(kind, key):
                self._gates.ask(rollout, kind, key)
            case WriteRegistry(version):
                self._background(rollout, "registry", self._write_registry(rollout, version))

    async def _set_policy(self, rollout: Rollout, command: SetPolicy, now: float) -> None:
        write = command.write
        back = rollout.good_revision if write.kind == "restore" else 0
        change = PolicyChange(rollout.model, write.policy, write.expected_revision, back, _ACTIONS[write.kind])
        with contextlib.suppress(RevisionConflict):  # seen, and dealt with, at the next turn
            await self._policies.write([change], actor=rollout.writer, reason=command.reason, at=now)

    async def _load(self, rollout: Rollout, version: int) -> None:
        with contextlib.suppress(VersionUnready):  # its state says so
            await self._versions.ensure_ready(rollout.model, version, timeout_s=self._ready_timeout_s)

    async def _write_registry(self, rollout: Rollout, version: int) -> None:
        tags = {
            "model_shepherd.promoted_by": rollout.writer,
            "model_shepherd.promoted_at": f"{self._clock():.0f}",
            "model_shepherd.replaced": str(rollout.stable_version),
            "model_shepherd.reason": rollout.reason,
            "model_shepherd.evidence": "; ".join(finding.words for finding in rollout.findings) or "none asked for",
        }
        try:
            await self._registry.name(rollout.model, CHAMPION, version, tags)
        except ServingError as error:
            _log.warning("Promotion of %s version %s: %s; trying again", rollout.model, version, error.message)
            await asyncio.sleep(RETRY_S)
        else:
            self._named.add(rollout.id)

    async def _write_failure(self, rollout: Rollout) -> None:
        tags = {"model_shepherd.rolled_back_by": rollout.writer, "model_shepherd.rolled_back_because": rollout.words}
        try:
            await self._registry.tag(rollout.model, rollout.version, tags)
        except ServingError as error:
            _log.warning("%s version %s: its failure is not in the registry: %s", rollout.model, rollout.version, error)

    def _forget(self, rollout: Rollout) -> None:
        if rollout.phase is Phase.FAILED:
            self._background(rollout, "failure", self._write_failure(rollout))
        self._watches.pop(rollout.id, None)
        self._findings.pop(rollout.id, None)
        self._named.discard(rollout.id)
        self._gates.forget(rollout)

    def _background(self, rollout: Rollout, what: str, work: Awaitable[None]) -> None:
        """Do something slow beside the turns, once at a time."""
        key = (rollout.id, what)
        if key in self._under_way:
            if asyncio.iscoroutine(work):
                work.close()
            return

        async def do() -> None:
            try:
                await work
            except Exception:  # noqa: BLE001 - it is tried again, or its state says so
                _log.exception("Rollout %s: %s failed", rollout.id, what)
                await asyncio.sleep(RETRY_S)
            finally:
                del self._under_way[key]
                self.nudge()

        self._under_way[key] = asyncio.create_task(do(), name=f"rollout-{what}-{rollout.id}")
