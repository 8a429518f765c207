"""What the router needs of the outside world, as protocols; adapters fit them, `app` chooses. Pure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from router.access.key import ApiKey, KeySnapshot
from router.analysis.counts import Moments
from router.analysis.shadow_report import ShadowReport
from router.policy.audit import AuditEntry
from router.policy.document import Policy
from router.requestlog.label import Label
from router.requestlog.rows import Rows
from router.rollout.evidence import Counters
from serving.protocol.messages import Signature


class StoredPolicy(msgspec.Struct, frozen=True):
    """A policy as kept: the document and its place in history."""

    policy: Policy
    revision: int
    """1 for a model's first; every write adds one; never reused, also not after a delete."""
    actor: str
    reason: str
    at: float
    """Unix seconds."""
    restores: int = 0
    """The revision whose content a rollback or undo brought back; 0 for a policy of its own."""


class PolicyChange(msgspec.Struct, frozen=True):
    """One policy's part of a write."""

    model: str
    policy: Policy | None
    """None removes."""
    expected_revision: int
    """The revision that must stand; 0: none."""
    restores: int = 0
    action: str = ""
    """What the audit log calls it; empty for `policy.put` or `policy.delete`."""


class PolicySnapshot(msgspec.Struct, frozen=True):
    """All policies at one moment."""

    epoch: int
    """Grows with every write of any policy; a router never goes back to a smaller one."""
    policies: Mapping[str, StoredPolicy]
    """By model name."""
    problems: tuple[str, ...] = ()
    """Policies that cannot be read, and which revision stands in for them."""


class RevisionConflict(Exception):
    """Somebody else wrote first: `actual` is the revision that stands, 0 when there is none."""

    def __init__(self, model: str, expected: int, actual: int) -> None:
        super().__init__(model, expected, actual)
        self.model = model
        self.expected = expected
        self.actual = actual


class StoreUnavailable(Exception):
    """The store cannot be reached; nothing was changed, or it is unknown whether it was. Says what to do."""


class PolicyStore(Protocol):
    """Policies as immutable revisions, changed by compare-and-set together with their audit entry."""

    async def snapshot(self) -> PolicySnapshot:
        """Read everything, consistently."""

    async def get(self, model: str) -> StoredPolicy | None:
        """Read one policy."""

    async def put(self, policy: Policy, *, expected_revision: int, actor: str, reason: str, at: float) -> StoredPolicy:
        """Write a revision if the current one is `expected_revision` (0: there is none); else `RevisionConflict`."""

    async def delete(self, model: str, *, expected_revision: int, actor: str, reason: str, at: float) -> None:
        """Remove a policy, under the same condition as `put`.

        When there is none and none was expected: `ServingError(NOT_FOUND)`.
        """

    async def write(
        self, changes: Sequence[PolicyChange], *, actor: str, reason: str, at: float
    ) -> Sequence[StoredPolicy | None]:
        """Make several changes, of one model each, all of them or none; return what stands in their order.

        Raises what `put` and `delete` raise, for the first change that cannot be made.
        """

    async def note(
        self, *, action: str, actor: str, reason: str, model: str, before: Any, after: Any, at: float
    ) -> AuditEntry:
        """Write down an act that changes no policy; `before` and `after` in JSON types."""

    async def revisions(self, model: str) -> Sequence[StoredPolicy]:
        """Every revision kept, oldest first."""

    async def audit(self, *, after_seq: int = 0, limit: int = 1000) -> Sequence[AuditEntry]:
        """Read the audit log from a place on, oldest first."""

    def watch(self) -> AsyncGenerator[PolicySnapshot, None]:
        """Yield the current snapshot, then a new one after each change; survives reconnects, never raises for them."""


class KeyExists(Exception):
    """A key of that name is there already."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class KeyStore(Protocol):
    """Keys of the data plane, changed together with their audit entry. Every method may raise `StoreUnavailable`."""

    async def snapshot(self) -> KeySnapshot:
        """Read all keys, consistently, by name."""

    async def create(self, key: ApiKey, *, actor: str, reason: str, at: float) -> None:
        """Add a key; else `KeyExists`."""

    async def revoke(self, name: str, *, actor: str, reason: str, at: float) -> None:
        """End a key; `ServingError(NOT_FOUND)` when there is none."""

    def watch(self) -> AsyncGenerator[KeySnapshot, None]:
        """Yield the current keys, then all anew after each change; survives reconnects, never raises for them."""


class ReplicaStatus(msgspec.Struct, frozen=True):
    """One process that serves a version."""

    replica_id: str
    pid: int
    node: str
    endpoint: str


class VersionStatus(msgspec.Struct, frozen=True):
    """Where a model version stands on its way to traffic."""

    model: str
    version: int
    state: str
    """absent | fetching | loading | ready | cold | failed | draining"""
    reason: str = ""
    """Why it failed, or what it waits for; empty when ready."""
    replicas: tuple[ReplicaStatus, ...] = ()
    target_replicas: int = 0
    scaling: str = ""
    """Why it last grew or shrank, as `2 → 4: queue 38 > 16`; empty when it has not."""
    load_s: float = 0.0
    """Seconds from the start of its process to a golden-checked answer."""
    lineage: Mapping[str, Any] = {}
    """run_id, git_commit, datasets, params, opset, sha256, bytes, backend, provider; what is known."""
    holders: tuple[str, ...] = ()
    """Who keeps it from being freed: `variant` and `shadow` once for each that names it, `standby` for a rollback; else
    `lingering` for ten minutes after somebody asked for it or a policy named it."""
    host: int = 0
    """The shared host that it lives in; 0 for a version with processes of its own."""
    signature: Signature | None = None
    """Of a version in a shared host, also while it is cold."""
    retried: bool = False
    """It has failed, but will be tried again without being asked for."""

    @property
    def is_passed_over(self) -> bool:
        """The split gives its requests to other versions; for one that is on its way to ready they wait instead."""
        return self.state == "failed"

    @property
    def serves(self) -> bool:
        """A request is answered: by a version in memory, or once a cold one has been loaded for it."""
        return self.state in {"ready", "cold"}


class VersionUnready(Exception):
    """A version did not become ready: `status` says why."""

    def __init__(self, status: VersionStatus) -> None:
        super().__init__(status)
        self.status = status


class VersionInUse(Exception):
    """A policy names the version: it stays loaded."""

    def __init__(self, model: str, version: int) -> None:
        super().__init__(model, version)
        self.model = model
        self.version = version


class VersionManager(Protocol):
    """Brings model versions to life and away again."""

    async def versions(self) -> Sequence[VersionStatus]:
        """List every version that the registry or the gateway knows."""

    async def ensure_ready(self, model: str, version: int, *, timeout_s: float) -> VersionStatus:
        """Load a version unless it is, and wait until it is ready; else `VersionUnready`.

        A version that the registry does not have raises `ServingError(NOT_FOUND)`.
        """

    async def unload(self, model: str, version: int, *, timeout_s: float) -> VersionStatus:
        """Drain and free a version that no policy names; return where it stands, still draining after `timeout_s`.

        It may be asked for again at once. Raises `VersionInUse`, or `ServingError(NOT_FOUND)` for a version that
        neither the gateway nor the registry has.
        """

    async def register(self, name: str, onnx: bytes, *, example: bytes | None, tags: Mapping[str, str]) -> int:
        """Add a version to the registry with its golden example; return its number."""


class LogAccounting(Protocol):
    """The request log's own accounting."""

    async def accounting(self) -> Mapping[str, Any]:
        """Totals and per model: requests, logged, sampled_out, dropped by reason; spool bytes and what was shipped.

        Raises `StoreUnavailable`.
        """


class RecordSink(Protocol):
    """Where the request log is kept for good, in stretches; write another class for another place.

    Called from one thread at a time that may block, never from a router. `add` and `commit` may come again with the
    same records after a failure or a kill, so a stretch must count as a whole or not at all.
    """

    @property
    def cursor(self) -> str:
        """Place in the stream up to which everything is kept: as last given to `commit`, `0-0` before the first."""

    def add(self, rows: Rows) -> None:
        """Take one record's rows; they need not be kept yet.

        Raises `ValueError` for a record that this place can never hold: it is counted and left out.
        """

    def commit(self, upto: str) -> int:
        """Keep for good what was added, and the place with it; `OSError` means that the same is to be tried again.

        Returns how many of the records turned out to be such that this place can never hold them. They were left out,
        and the log says which: one bad record must not keep out all that come after it.
        """


class LabelSink(Protocol):
    """Where labels go that clients send back."""

    async def add(self, model: str, labels: Sequence[Label], *, at: float) -> None:
        """Keep labels of a model's answers, all of them or none; raises `StoreUnavailable`. `at` in Unix seconds."""


class VersionBoard(Protocol):
    """Where control publishes which versions are ready or failed, and routers read it."""

    async def publish(self, statuses: Sequence[VersionStatus]) -> None:
        """Replace what is on the board."""

    async def read(self) -> Sequence[VersionStatus]:
        """Read the board."""

    def watch(self) -> AsyncIterator[Sequence[VersionStatus]]:
        """Yield the board now and after each change; survives reconnects, never raises for them."""


class Reading(msgspec.Struct, frozen=True):
    """What was counted of a model under its present split."""

    since: float
    """Unix seconds."""
    counters: Counters


class Readings(Protocol):
    """What has been measured of a model, for those who compare versions."""

    async def shadow_reports(self, model: str) -> Mapping[int, ShadowReport]:
        """Read the comparisons with the primary, by shadowed version."""

    async def reading(self, model: str) -> Reading | None:
        """Read the counters since the split last changed; None until no router acts on the former one."""

    async def outcomes(self, model: str) -> Mapping[str, Moments]:
        """Read the outcome values posted since then, by variant."""
