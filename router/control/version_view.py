"""How a version is shown to routers and operators: what is decided of it, beside what is seen of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from router.control.reconciler import LoadState, Phase, VersionKey
from router.control.specs import SpecMaker
from router.ports import ReplicaStatus, VersionStatus
from serving.channel.endpoint import Endpoint
from serving.deployment.remote_report import read_troubles
from serving.deployment.scaling_record import read_record, record_path
from serving.deployment.spec import VersionSpec
from serving.deployment.status import AppStatus
from serving.registry.cache import CachedVersion

#: Shown of a version that is ready and not in memory: its next request has it loaded.
COLD: Final = "cold"


class Memory(Protocol):
    """Who knows what this node has of a version, without asking the registry."""

    def remembered(self, model: str, version: int) -> CachedVersion | None:
        """Say it; reads one small file."""


class VersionViews:
    """Draws the status of versions; reads small files of this node."""

    def __init__(self, memory: Memory, make_spec: SpecMaker) -> None:
        self._memory = memory
        self._make_spec = make_spec
        self._known: dict[VersionKey, CachedVersion] = {}
        """What was remembered of versions that run: it does not change while they do."""
        self._running: Mapping[VersionKey, AppStatus] = {}

    def learn(self, running: Mapping[VersionKey, AppStatus]) -> None:
        """Look up what is known of versions that run now, and forget the others."""
        self._running = running
        self._known = {key: known for key, known in self._known.items() if key in running}
        for key in running.keys() - self._known.keys():
            known = self._memory.remembered(*key)
            if known:
                self._known[key] = known

    def draw(
        self, key: VersionKey, state: LoadState, endpoints: Sequence[Endpoint], holders: tuple[str, ...]
    ) -> VersionStatus:
        """Show a version."""
        known, app = self._known.get(key), self._running.get(key)
        guest = app.guest if app else None
        spec = self._make_spec(known.info) if known else None
        scaling = read_record(record_path(spec.run_dir, *key)) if spec and spec.scale else None
        is_cold = state.phase is Phase.READY and guest is not None and not guest.loaded
        facts = guest.facts if guest else endpoints[0].facts if endpoints else {}
        process = {"process": app.note} if app and app.note else {}
        return VersionStatus(
            *key,
            state=COLD if is_cold else state.phase.value,
            reason=state.reason or (_troubles(spec, endpoints) if spec and state.phase is Phase.READY else ""),
            replicas=tuple(ReplicaStatus(each.replica_id, each.pid, each.node, each.uds) for each in endpoints),
            target_replicas=scaling.replicas if scaling else spec.replicas if spec else 0,
            scaling=scaling.reason if scaling else "",
            load_s=guest.load_s if guest else max((each.load_s for each in endpoints), default=0.0),
            lineage={**(known.lineage if known else {}), **facts, **process},
            holders=holders,
            host=guest.host if guest else 0,
            signature=guest.signature if guest else None,
            retried=state.is_retried,
        )


def _troubles(spec: VersionSpec, endpoints: Sequence[Endpoint]) -> str:
    """Say at which servers a version that lives on others cannot be asked; empty when none."""
    troubles = read_troubles(spec.run_dir, [each.replica_id for each in endpoints])
    return "; ".join(f"{place} gets no requests: {trouble}" for place, trouble in troubles.items())
