"""An admin API with nothing behind it but memory: ports written by hand, a real app, and a real server when wanted."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from fastapi import FastAPI

from router.adapters.memory.key_store import MemoryKeyStore
from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.memory.rollout_store import MemoryAnswerStore, MemoryRolloutStore
from router.admin.api import build_admin
from router.admin.auth import TokenStore
from router.admin.operations import Role
from router.admin.services import RegistryServices, RolloutServices
from router.analysis.counts import Moments
from router.analysis.shadow_report import ShadowReport
from router.cli.location import NODE_FILE, Node
from router.monitor.book import Book
from router.monitor.book_settings import BookSettings
from router.monitor.incident import Incident
from router.policy.document import Policy
from router.ports import (
    PolicySnapshot,
    Reading,
    ReplicaStatus,
    StoredPolicy,
    StoreUnavailable,
    VersionInUse,
    VersionStatus,
    VersionUnready,
)
from serving.protocol.errors import ErrorKind, ServingError, not_found

MODEL = "flight-delay"
SHARES = [{"name": "stable", "version": 1, "weight": 9000}, {"name": "canary", "version": 2, "weight": 1000}]


class Versions:
    """A `VersionManager` whose registry holds versions 1 to 4 of one model; 3 fails to load."""

    def __init__(self) -> None:
        self.statuses = {(MODEL, number): VersionStatus(MODEL, number, "absent") for number in (1, 2, 3, 4)}
        self.asked: list[int] = []
        self.named: set[int] = set()
        """Versions that a policy names."""
        self.together = 0
        """Most attempts that were under way at once."""
        self._under_way = 0

    async def versions(self) -> Sequence[VersionStatus]:
        return list(self.statuses.values())

    async def ensure_ready(self, model: str, version: int, *, timeout_s: float) -> VersionStatus:
        self.asked.append(version)
        if (model, version) not in self.statuses:
            raise not_found(f"{model}: the registry has no version {version}")
        self._under_way += 1
        self.together = max(self.together, self._under_way)
        await asyncio.sleep(0)
        self._under_way -= 1
        if version == 3:
            self._set(model, version, state="failed", reason="golden check: output 'label' differs")
            raise VersionUnready(self.statuses[model, version])
        replica = ReplicaStatus(f"{model}-{version}-a", 4000 + version, "node-1", f"/run/{version}.sock")
        return self._set(model, version, state="ready", replicas=(replica,), target_replicas=1, load_s=0.5)

    async def unload(self, model: str, version: int, *, timeout_s: float) -> VersionStatus:
        if (model, version) not in self.statuses:
            raise not_found(f"{model}: the registry has no version {version}")
        if version in self.named:
            raise VersionInUse(model, version)
        return self._set(model, version, state="absent", reason="", replicas=())

    async def register(self, name: str, onnx: bytes, *, example: bytes | None, tags: Mapping[str, str]) -> int:
        version = 1 + max((number for model, number in self.statuses if model == name), default=0)
        lineage = {"bytes": len(onnx), "example": (example or b"").decode(), **tags}
        self.statuses[name, version] = VersionStatus(name, version, "absent", lineage=lineage)
        return version

    def _set(self, model: str, version: int, **changes: Any) -> VersionStatus:
        self.statuses[model, version] = msgspec.structs.replace(self.statuses[model, version], **changes)
        return self.statuses[model, version]


class Store(MemoryPolicyStore):
    """A policy store that can go away."""

    away = False

    async def snapshot(self) -> PolicySnapshot:
        self._require()
        return await super().snapshot()

    async def get(self, model: str) -> StoredPolicy | None:
        self._require()
        return await super().get(model)

    async def put(self, policy: Policy, *, expected_revision: int, actor: str, reason: str, at: float) -> StoredPolicy:
        self._require()
        return await super().put(policy, expected_revision=expected_revision, actor=actor, reason=reason, at=at)

    def _require(self) -> None:
        if self.away:
            raise StoreUnavailable("no connection to /run/redis.sock; is Redis up?")


class Accounting:
    """A `LogAccounting` with fixed numbers that add up, and that can go away."""

    def __init__(self) -> None:
        self.away = False

    async def accounting(self) -> Mapping[str, Any]:
        if self.away:
            raise StoreUnavailable("the accounting cannot be read: Input/output error")
        line = {"requests": 12, "logged": 10, "sampled_out": 1, "dropped": {"spool_full": 1}}
        return {**line, "models": {MODEL: line}}


class FixedReadings:
    """`Readings` that a test fills."""

    def __init__(self) -> None:
        self.shadows: dict[int, ShadowReport] = {}
        self.counted: Reading | None = None
        self.posted: dict[str, Moments] = {}

    async def shadow_reports(self, model: str) -> Mapping[int, ShadowReport]:
        return self.shadows if model == MODEL else {}

    async def reading(self, model: str) -> Reading | None:
        return self.counted if model == MODEL else None

    async def outcomes(self, model: str) -> Mapping[str, Moments]:
        return self.posted if model == MODEL else {}


class FixedWatch:
    """A `Watch` that a test fills."""

    def __init__(self) -> None:
        self.known = Book(BookSettings(), lambda _model, _version: None)
        self.told: list[Incident] = []
        self.held: dict[str, str] = {}

    async def book(self) -> Book:
        return self.known

    async def incidents(self, limit: int, model: str | None = None) -> Sequence[Incident]:
        return [each for each in self.told if model in {None, each.model}][:limit]

    async def holds(self) -> Mapping[str, str]:
        return self.held

    async def hold(self, model: str, reason: str | None) -> None:
        self.held.pop(model, None)
        if reason is not None:
            self.held[model] = reason


class AdminWorld:
    """One admin API: its app, what it stands on, and tokens of each role."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.store = Store()
        self.versions = Versions()
        self.accounting = Accounting()
        self.readings = FixedReadings()
        self.rollouts = MemoryRolloutStore(self.store)
        self.nudges = 0
        self.watch = FixedWatch()
        self.aliases = {(MODEL, "champion"): 2}
        self.concerns: list[str] = []
        self.keys = MemoryKeyStore(self.store)
        self.tokens = TokenStore(state_dir)
        self.admin_token = self.tokens.ensure_admin().read_text().strip()
        self.token_of = {
            Role.ADMIN: self.admin_token,
            Role.OPERATOR: self.tokens.add("ada", Role.OPERATOR),
            Role.VIEWER: self.tokens.add("vera", Role.VIEWER),
        }
        self.app: FastAPI = build_admin(
            self.store,
            self.versions,
            self.accounting,
            self.tokens,
            self._status,
            readings=self.readings,
            rollouts=RolloutServices(self.rollouts, lambda rollout: rollout.findings, self._nudge),
            watch=self.watch,
            registry=RegistryServices(self._aliased, self._model_bytes, lambda: self.concerns),
            answers=MemoryAnswerStore(),
            key_store=self.keys,
            allowed_hosts=["gateway.example"],
        )

    async def _aliased(self, model: str, alias: str) -> int:
        if (model, alias) not in self.aliases:
            raise not_found(f"model '{model}' has no alias '{alias}'; it has champion")
        return self.aliases[model, alias]

    async def _model_bytes(self, model: str, version: int) -> int:
        if version == 4:
            raise ServingError(ErrorKind.UNAVAILABLE, "the registry is away")
        return 1000 * version

    def _nudge(self) -> None:
        self.nudges += 1

    def client(self, role: Role | None = Role.ADMIN, host: str = "127.0.0.1:8080") -> httpx.AsyncClient:
        """Make a client of the app in this process."""
        headers = {"Authorization": f"Bearer {self.token_of[role]}"} if role else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers)

    @staticmethod
    async def _status() -> Mapping[str, Any]:
        return {"version": "0.1.0", "pid": 4711}


def policy_body(shares: Sequence[Mapping[str, Any]] = SHARES, reason: str = "first", **more: Any) -> dict[str, Any]:
    """Make the body of a write."""
    return {"variants": [dict(share) for share in shares], "reason": reason, **more}


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a free loopback port, from a thread; give its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    # Connections wait in the backlog until the server accepts, so nobody need wait for its start.
    listener.listen()
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


def write_node(state_dir: Path, pid: int, *, admin: str, http: str = "http://127.0.0.1:1") -> None:
    """Write what `shepherd up` writes about itself."""
    path = state_dir / NODE_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.encode(Node(pid=pid, http=http, grpc="", metrics="", admin=admin, started_at=0.0)))
