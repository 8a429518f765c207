"""Takes traffic back from versions that fail hard after somebody has raised their share by hand or by an alias.

A rollout watches its own version. This is the same judgement for every other way to a share of the traffic, for some
time after it: each look compares what the version has answered with the versions beside and before it, and one that
fails hard loses its share to the last policy without it, as one more revision that says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from router.cancellation import end_if_cancelled
from router.control.hard_watch import HardWatch
from router.policy.actors import HARD_FAILURE_WATCH
from router.policy.exposure import on_trial, shares
from router.policy.history import last_without
from router.ports import (
    PolicyChange,
    PolicySnapshot,
    PolicyStore,
    RevisionConflict,
    StoredPolicy,
    StoreUnavailable,
    VersionStatus,
)
from router.rollout.counters import read_counters
from router.rollout.split import restored
from router.rollout_ports import RolloutStore
from serving.telemetry.folder import read_folder
from serving.telemetry.snapshot import Snapshot

#: Pause between looks while a version is on trial; counters are published every half second.
LOOK_S: Final = 0.25
#: The same after a look that failed.
RETRY_S: Final = 1.0
#: The same while none is: a new policy ends it.
IDLE_S: Final = 60.0
_log = logging.getLogger(__name__)


class Loaded(Protocol):
    """The part of the version manager that tells what could take over."""

    def current(self) -> Sequence[VersionStatus]:
        """List the versions that this gateway deals with."""


class _Trial(NamedTuple):
    """The versions of one model that are watched, as of a revision."""

    revision: int
    history: Sequence[StoredPolicy]
    watches: dict[int, HardWatch]
    """By version."""


class ExposureWatch:
    """All such trials. What it knows of them follows from revisions; evidence is gathered anew by a successor."""

    def __init__(
        self,
        policies: PolicyStore,
        rollouts: RolloutStore,
        versions: Loaded,
        *,
        metrics_dir: Path,
        watch_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._policies = policies
        self._rollouts = rollouts
        self._versions = versions
        self._metrics_dir = metrics_dir
        self._watch_s = watch_s
        self._clock = clock
        self._standing: dict[str, StoredPolicy] = {}
        self._trials: dict[str, _Trial] = {}
        self._without_fallback: set[tuple[str, int]] = set()
        """Model and revision where nothing could be done, said once."""
        self._stuck: dict[str, str] = {}
        """By model, why its trial could not be judged last."""
        self._wake = asyncio.Event()

    def follow(self, snapshot: PolicySnapshot) -> None:
        """Learn which policies stand."""
        self._standing = dict(snapshot.policies)
        self._wake.set()

    async def run(self) -> None:
        """Watch until cancelled; a look that fails is reported and the next one tries again."""
        is_down = False
        while True:
            end_if_cancelled()
            pause_s = RETRY_S
            try:
                pause_s = LOOK_S if await self.look() else IDLE_S
                is_down = False
            except (StoreUnavailable, OSError) as error:
                if not is_down:
                    _log.warning("Versions on trial are not watched: %s", error)
                is_down = True
            except Exception:  # noqa: BLE001 - a watch that ends watches nothing
                _log.exception("A look at versions on trial failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            self._wake.clear()

    async def look(self) -> bool:
        """Judge each version on trial; tell whether there is any."""
        now = self._clock()
        recent = {model: each for model, each in self._standing.items() if now - each.at <= self._watch_s}
        for model in self._trials.keys() - recent.keys():
            del self._trials[model]
            self._stuck.pop(model, None)
        for model, stored in recent.items():
            await self._renew(model, stored, now)
        watched = {model: trial for model, trial in self._trials.items() if trial.watches}
        if not watched:
            return False
        snapshot = (await asyncio.to_thread(read_folder, self._metrics_dir)).snapshot
        for model, trial in watched.items():
            await self._judge_alone(recent[model], trial, snapshot, now)
        return True

    async def _judge_alone(self, stored: StoredPolicy, trial: _Trial, snapshot: Snapshot, now: float) -> None:
        """Judge a trial; one that cannot be judged holds up no other."""
        model = stored.policy.model
        try:
            await self._judge(stored, trial, snapshot, now)
        except (StoreUnavailable, OSError):
            raise  # it is the same for all
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this model's
            words = f"{type(error).__name__}: {error}"
            if self._stuck.get(model) != words:  # said once, not at each look
                _log.exception("The versions of %s on trial cannot be judged", model)
            self._stuck[model] = words
        else:
            self._stuck.pop(model, None)

    async def _renew(self, model: str, stored: StoredPolicy, now: float) -> None:
        """Find what is on trial; a version that was before goes on with the evidence against it."""
        known = self._trials.get(model)
        history = known.history if known and known.revision == stored.revision else None
        if history is None:
            history = await self._policies.revisions(model)
        versions = on_trial(history, since=now - self._watch_s)
        before = known.watches if known else {}
        watches = {version: before.get(version) or HardWatch(version) for version in versions}
        self._trials[model] = _Trial(stored.revision, history, watches)

    async def _judge(self, stored: StoredPolicy, trial: _Trial, snapshot: Snapshot, now: float) -> None:
        counters = read_counters(snapshot, stored.policy.model)
        for version, watch in trial.watches.items():
            target = last_without(trial.history, version)
            beside = (shares(stored.policy).keys() | (shares(target.policy).keys() if target else set())) - {version}
            words = watch.look(counters, now, beside=beside)
            if words:
                others = counters.failures_of(beside)
                compared = (
                    f"the versions beside it {others.events} of {others.total}" if beside else "no other to compare"
                )
                await self._take_back(stored, target, version, f"version {version} {words}; {compared}", now)
                return  # the others are looked at under the policy that stands then

    async def _take_back(
        self, stored: StoredPolicy, target: StoredPolicy | None, version: int, evidence: str, now: float
    ) -> None:
        """Write the last policy without the version, unless a rollout answers for it or nothing is there to go to."""
        model = stored.policy.model
        rollout = await self._rollouts.get(model)
        if rollout is not None and not rollout.is_over and rollout.version == version:
            return
        ready = {each.version for each in self._versions.current() if each.model == model and each.serves}
        back = restored(stored.policy, target.policy) if target else None
        if target is None or back is None or not set(shares(back)) <= ready:
            self._report_no_fallback(stored, evidence)
            return
        change = PolicyChange(model, back, stored.revision, target.revision, "policy.rollback")
        reason = f"{evidence}; back to revision {target.revision}"
        with contextlib.suppress(RevisionConflict):  # looked at anew under the policy that stands then
            await self._policies.write([change], actor=HARD_FAILURE_WATCH, reason=reason, at=now)
            _log.warning("%s: %s", model, reason)

    def _report_no_fallback(self, stored: StoredPolicy, evidence: str) -> None:
        key = (stored.policy.model, stored.revision)
        if key not in self._without_fallback:
            self._without_fallback.add(key)
            _log.error("%s: %s; there is no earlier policy with ready versions to go back to", key[0], evidence)
