"""What a node has measured of a model, for readouts: shadow reports, and counters since its split last changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from router.adapters.files.shadow_folder import ShadowFolder
from router.analysis.counts import Moments
from router.analysis.shadow_report import ShadowReport
from router.policy.document import Policy
from router.ports import PolicySnapshot, Reading
from router.rollout.counters import read_counters
from router.rollout.evidence import Counters, since
from router.rollout.split import same_split
from serving.telemetry.folder import read_folder
from serving.telemetry.snapshot import Snapshot

#: From a change of the split until no router counts by the old one any more: its way there, and one publication.
SETTLE_S: Final = 2.0


class _Beginning(NamedTuple):
    at: float
    """Unix seconds."""
    counters: Counters


class PostedOutcomes(Protocol):
    """Where outcome values are joined with the requests that they are about."""

    async def since(self, model: str, at: float) -> Mapping[str, Moments]:
        """Sum up those of requests after a time (Unix seconds), by variant; raises `StoreUnavailable`."""


class NodeReadings:
    """Reads the metrics folder; fits `router.ports.Readings`.

    What was counted under another split says nothing of this one, so the counters at each change of a split are kept,
    in memory: after a restart of this process a readout begins anew.
    """

    def __init__(
        self,
        metrics_dir: Path,
        posted: PostedOutcomes | None = None,
        *,
        settle_s: float = SETTLE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics_dir = metrics_dir
        self._shadows = ShadowFolder(metrics_dir)
        self._posted = posted
        self._settle_s = settle_s
        self._clock = clock
        self._policies: dict[str, Policy] = {}
        self._beginnings: dict[str, _Beginning] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, snapshot: PolicySnapshot) -> None:
        """Begin anew with each model whose split is not what it was."""
        before, self._policies = self._policies, {model: kept.policy for model, kept in snapshot.policies.items()}
        changed = {
            model: policy
            for model, policy in self._policies.items()
            if model not in before or not same_split(before[model], policy)
        }
        for model in changed:
            self._beginnings.pop(model, None)
        if changed:
            task = asyncio.create_task(self._begin(changed))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def shadow_reports(self, model: str) -> Mapping[int, ShadowReport]:
        """Add up the reports of all routers, by shadowed version."""
        return await asyncio.to_thread(self._shadows.shadow_reports, model)

    async def reading(self, model: str) -> Reading | None:
        """Count since the split changed; None until that has settled."""
        beginning = self._beginnings.get(model)
        if beginning is None:
            return None
        now = read_counters(await self._snapshot(), model)
        return Reading(beginning.at, since(now, beginning.counters))

    async def outcomes(self, model: str) -> Mapping[str, Moments]:
        """Sum up the outcomes posted for requests since the split changed, by variant."""
        beginning = self._beginnings.get(model)
        if beginning is None or self._posted is None:
            return {}
        return await self._posted.since(model, beginning.at)

    async def close(self) -> None:
        """Stop waiting for splits to settle."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self, changed: Mapping[str, Policy]) -> None:
        await asyncio.sleep(self._settle_s)
        snapshot = await self._snapshot()
        for model, policy in changed.items():
            current = self._policies.get(model)
            if current is not None and same_split(current, policy):
                self._beginnings[model] = _Beginning(self._clock(), read_counters(snapshot, model))

    async def _snapshot(self) -> Snapshot:
        return (await asyncio.to_thread(read_folder, self._metrics_dir)).snapshot
