"""The shell around the rollout core: looks, lets it decide, stores the decision, then acts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from router.cancellation import end_if_cancelled
from router.control.gates import Gates
from router.control.hard_watch import HardWatch
from router.control.promotions import RETRY_S, TELL_FOR_S, Promotions, Registry
from router.policy.shares import WHOLE_BP
from router.ports import PolicyChange, PolicyStore, RevisionConflict, StoreUnavailable, VersionStatus, VersionUnready
from router.rollout.advance import UNTOLD, advance
from router.rollout.counters import read_counters
from router.rollout.evidence import Counters, Judgement, Observation
from router.rollout.phase import EXPOSED, Phase
from router.rollout.rollout import Rollout
from router.rollout.split import share_of
from router.rollout.writes import AskGates, Command, KeepTrying, LoadVersion, SetPolicy, Turn, WriteRegistry
from router.rollout_ports import Note, RolloutConflict, RolloutMonitor, RolloutStore
from serving.protocol.errors import ServingError
from serving.telemetry.folder import read_folder
from serving.telemetry.snapshot import Snapshot

#: Pause between looks while a rollout is on; counters are published every half second.
TURN_S: Final = 0.25
#: The same while there is none.
IDLE_S: Final = 1.0
_ACTIONS: Final = {
    "shadow": "rollout.shadow",
    "step": "rollout.step",
    "promote": "rollout.promote",
    "restore": "rollout.rollback",
}
_log = logging.getLogger(__name__)


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
        self._promotions = Promotions(registry, clock)
        self._gates = gates
        self._metrics_dir = metrics_dir
        self._monitor = monitor
        self._ready_timeout_s = ready_timeout_s
        self._clock = clock
        self._watches: dict[str, HardWatch] = {}
        self._findings: dict[str, Sequence[Judgement]] = {}
        self._stuck: dict[str, str] = {}
        """By rollout, why its last turn failed."""
        self._unknown: dict[str, str] = {}
        """By rollout, why its version cannot even be asked for."""
        self._concerns: tuple[str, ...] = ()
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    def findings(self, rollout: Rollout) -> Sequence[Judgement]:
        """What the checks of a rollout say now, or said last."""
        return self._findings.get(rollout.id, rollout.findings)

    def concerns(self) -> Sequence[str]:
        """Say which rollouts cannot go on, and which promotions the registry does not know of, and why."""
        return self._concerns

    def nudge(self) -> None:
        """Look now: somebody has changed a rollout."""
        self._wake.set()

    async def run(self) -> None:
        """Go on until cancelled; a turn that fails is reported, and the next one tries again."""
        busy = is_down = False
        while True:
            end_if_cancelled()
            try:
                busy, is_down = await self.look(), False
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
        last = (await self._rollouts.all()).values()
        untold = [rollout for rollout in last if self._is_untold(rollout)]
        for rollout in untold:
            await self._tell_again(rollout)
        active = [rollout for rollout in last if not rollout.is_over]
        if active:
            # Off the loop: it waits for the disk, and for another reader's lock.
            snapshot = (await asyncio.to_thread(read_folder, self._metrics_dir)).snapshot
            for rollout in active:
                await self._turn_alone(rollout, snapshot)
        stuck = ((rollout, self._stuck.get(rollout.id) or self._unknown.get(rollout.id)) for rollout in active)
        troubles = ((rollout, self._promotions.trouble(rollout)) for rollout in (*untold, *active))
        self._concerns = (
            *(f"{each.model}: the rollout of version {each.version} cannot go on: {why}" for each, why in stuck if why),
            *(f"{each.model}: version {each.version} has taken over, {UNTOLD}: {why}" for each, why in troubles if why),
        )
        return bool(active)

    async def _turn_alone(self, rollout: Rollout, snapshot: Snapshot) -> None:
        """Carry a rollout on; one that cannot be holds up no other."""
        try:
            await self._turn(rollout, snapshot)
        except (StoreUnavailable, OSError):
            raise  # it is the same for all
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this rollout's
            words = f"{type(error).__name__}: {error}"
            if self._stuck.get(rollout.id) != words:  # said once, not at each look
                _log.exception("The rollout of %s version %s cannot go on", rollout.model, rollout.version)
            self._stuck[rollout.id] = words
        else:
            self._stuck.pop(rollout.id, None)

    def _is_untold(self, rollout: Rollout) -> bool:
        is_due = rollout.phase is Phase.SUCCEEDED and not rollout.registry_written
        return is_due and self._clock() - rollout.ended_at < TELL_FOR_S

    async def _tell_again(self, rollout: Rollout) -> None:
        """Go on telling the registry of a promotion, for as long as the version has all of the traffic."""
        if self._promotions.is_told(rollout):
            with contextlib.suppress(RolloutConflict):  # a new one has begun
                await self._rollouts.put(msgspec.structs.replace(rollout, registry_written=True), at=self._clock())
            self._promotions.forget(rollout)
            return
        stored = await self._policies.get(rollout.model)
        if stored is not None and share_of(stored.policy, rollout.version) == WHOLE_BP:
            self._background(rollout, "registry", self._promotions.tell(rollout))
        else:
            self._promotions.forget(rollout)  # it has nothing to be told any more

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
        if status.state != "absent":
            self._unknown.pop(rollout.id, None)
        return Observation(
            policy=stored.policy if stored else None,
            policy_revision=stored.revision if stored else 0,
            counters=counters,
            candidate_state=status.state,
            candidate_reason=status.reason,
            candidate_retried=status.retried,
            hard_failure=self._watch(rollout, counters, now),
            gates=self._gates.answers(rollout),
            registry_written=self._promotions.is_told(rollout),
            registry_trouble=self._promotions.trouble(rollout),
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
            case WriteRegistry():
                self._background(rollout, "registry", self._promotions.tell(rollout))

    async def _set_policy(self, rollout: Rollout, command: SetPolicy, now: float) -> None:
        write = command.write
        back = rollout.good_revision if write.kind == "restore" else 0
        change = PolicyChange(rollout.model, write.policy, write.expected_revision, back, _ACTIONS[write.kind])
        with contextlib.suppress(RevisionConflict):  # seen, and dealt with, at the next turn
            await self._policies.write([change], actor=rollout.writer, reason=command.reason, at=now)

    async def _load(self, rollout: Rollout, version: int) -> None:
        """Have a version loaded; one that is not at once is asked for again after a pause, and looked at meanwhile."""
        is_ready = False
        try:
            with contextlib.suppress(VersionUnready):  # its state says so
                status = await self._versions.ensure_ready(rollout.model, version, timeout_s=self._ready_timeout_s)
                is_ready = status.state == "ready"
            self._unknown.pop(rollout.id, None)
        except ServingError as error:
            self._unknown[rollout.id] = error.message
        if not is_ready:
            await asyncio.sleep(RETRY_S)

    def _forget(self, rollout: Rollout) -> None:
        if rollout.phase is Phase.FAILED:
            self._background(rollout, "failure", self._promotions.tell_failure(rollout))
        self._watches.pop(rollout.id, None)
        self._findings.pop(rollout.id, None)
        self._stuck.pop(rollout.id, None)
        self._unknown.pop(rollout.id, None)
        if not self._is_untold(rollout):
            self._promotions.forget(rollout)
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
