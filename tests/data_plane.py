"""The data plane in one process and without Ray: real replicas, real channels, a real router, real ports.

For tests of what happens between a client's bytes and a model; the wiring by Ray Serve is tested end to end.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx

from router.access.key import SECRET_PREFIX, ApiKey, digest_of
from router.access.scope import read_scope
from router.adapters.files.spool import Spool, SpoolLimits
from router.adapters.memory.key_store import MemoryKeyStore
from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.memory.version_board import MemoryVersionBoard
from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.request_log import RedisRequestLog
from router.gateway.gateway import Gateway
from router.gateway.log.recorder import Recorder
from router.gateway.log.shipper import Shipper
from router.gateway.slots import Slot
from router.layout import Layout
from router.node.envoy import EnvoyDoor, grpc_door
from router.policy.document import parse_policy
from router.ports import KeyStore, VersionStatus
from router.requestlog.record import Record, read_records
from router.settings import Settings
from serving.backends.backend import Backend
from serving.backends.example import synthetic_inputs
from serving.batching.batcher import BatchLimits
from serving.deployment.model_server import ModelServer
from serving.protocol.arrays import to_tensor
from tests.ports import free_ports

TOKEN = b"a token for tests"
MODEL = "m"


class DataPlane:
    """A running router and its replicas."""

    def __init__(self, folder: Path, settings: Settings, store: MemoryPolicyStore, board: MemoryVersionBoard) -> None:
        self.folder = folder
        self.settings = settings
        self.store = store
        self.board = board
        self.keys = MemoryKeyStore(store)
        self.replicas: dict[tuple[int, str], ModelServer] = {}
        self.door: EnvoyDoor | None = None
        self.gateway: Gateway
        self.labels: RedisLabels
        self.client: httpx.AsyncClient

    @property
    def http(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.settings.http_port}"

    @property
    def grpc(self) -> str:
        """Address for gRPC."""
        return f"127.0.0.1:{self.settings.grpc_port}"

    async def add_replica(
        self,
        version: int,
        backend: Backend,
        name: str = "a",
        *,
        limits: BatchLimits | None = None,
        max_in_flight: int = 256,
    ) -> ModelServer:
        """Start a replica of a version and let the router discover it."""
        backend.load()
        server = ModelServer(
            backend,
            token=TOKEN,
            limits=limits,
            replica_id=f"{version}-{name}",
            node="here",
            max_in_flight=max_in_flight,
        )
        example = tuple(to_tensor(name, array) for name, array in synthetic_inputs(backend.signature).items())
        await server.start(str(self.folder / f"{version}-{name}.sock"), example=example)
        self.replicas[version, name] = server
        self.announce(version)
        return server

    async def remove_replica(self, version: int, name: str = "a", *, abruptly: bool) -> None:
        """Stop a replica; an abrupt stop is noticed by its connections' end only."""
        server = self.replicas.pop((version, name))
        if not abruptly:
            self.announce(version)
            await server.drain(5)
        await server.close()
        self.announce(version)

    def announce(self, version: int) -> None:
        """Tell the router what discovery would."""
        endpoints = [server.endpoint for (number, _), server in self.replicas.items() if number == version]
        self.gateway.set_endpoints(MODEL, version, endpoints)

    def announce_all(self, wanted: frozenset[tuple[str, int]]) -> None:
        """Tell the router of every version that it asks for."""
        for _, version in wanted:
            self.announce(version)

    async def set_policy(self, **document: Any) -> None:
        """Write a policy and wait until the router follows it."""
        current = await self.store.get(MODEL)
        stored = await self.store.put(
            parse_policy({"model": MODEL, **document}),
            expected_revision=current.revision if current else 0,
            actor="test",
            reason="test",
            at=0.0,
        )
        while self.gateway.revision(MODEL) != stored.revision:
            await asyncio.sleep(0.001)

    async def grant(
        self, name: str, models: Sequence[str], actions: Sequence[str] | None = None, expires_at: float | None = None
    ) -> str:
        """Make a key, wait until the router knows it, and return its secret."""
        secret = f"{SECRET_PREFIX}of-{name}"
        key = ApiKey(name, read_scope(models, actions), digest_of(secret), 0.0, expires_at)
        await self.keys.create(key, actor="test", reason="test", at=0.0)
        await self._keys_known()
        return secret

    async def revoke(self, name: str) -> None:
        """End a key, and wait until the router knows."""
        await self.keys.revoke(name, actor="test", reason="test", at=0.0)
        await self._keys_known()

    async def _keys_known(self) -> None:
        epoch = (await self.keys.snapshot()).epoch
        while self.gateway.key_epoch < epoch:
            await asyncio.sleep(0.001)

    async def set_states(self, **states: str) -> None:
        """Publish version states, as `v1="ready"`."""
        await self.board.publish([VersionStatus(MODEL, int(name[1:]), state) for name, state in states.items()])
        await asyncio.sleep(0)

    def records(self) -> list[Record]:
        """Read what the request log holds on disk; whole, since tests ship nothing."""
        found: list[Record] = []
        for segment in sorted(self.folder.glob("spool/*/*.seg")):
            found += read_records(segment.read_bytes()).records
        return found

    async def infer(
        self, values: list[float], *, path: str = f"/v2/models/{MODEL}/infer", **headers: str
    ) -> httpx.Response:
        """Post one FP32 row named `x`."""
        body = {"inputs": [{"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": values}]}
        return await self.client.post(path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


@contextmanager
def running_door(settings: Settings, layout: Layout) -> Iterator[EnvoyDoor]:
    """Run Envoy on the public gRPC port; it is ready once it has found a router."""
    layout.logs_dir.mkdir(exist_ok=True)
    door = grpc_door(settings, layout)
    assert door is not None, "the wheel is among the packages for tests"
    door.launch()
    try:
        yield door
    finally:
        door.stop()


@asynccontextmanager
async def running_data_plane(
    redis_url: str,
    grpc_door: Literal["envoy", "aio"] = "aio",
    *,
    policy: Mapping[str, Any] | None = None,
    states: Sequence[VersionStatus] = (),
    key_store: KeyStore | None = None,
    keys_on_disk: bytes = b"",
    **settings: Any,
) -> AsyncIterator[DataPlane]:
    """Run a router, and Envoy before it if asked to; everything is gone afterwards.

    Args:
        redis_url: where the request log goes.
        grpc_door: who has the public gRPC port.
        policy: of the model, when the router starts; none as a rule.
        states: of its versions, when the router starts.
        key_store: where its keys are; in memory as a rule.
        keys_on_disk: what an earlier router left of them.
        **settings: of the router.
    """
    with tempfile.TemporaryDirectory(prefix="dp-", dir="/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        http, grpc = free_ports(2)
        plane = DataPlane(
            folder,
            Settings(state_dir=folder, http_port=http, grpc_port=grpc, grpc_door=grpc_door, **settings),
            MemoryPolicyStore(),
            MemoryVersionBoard(),
        )
        if policy is not None:
            first = parse_policy({"model": MODEL, **policy})
            await plane.store.put(first, expected_revision=0, actor="test", reason="test", at=0.0)
        await plane.board.publish(states)
        if keys_on_disk:
            (folder / "keys.json").write_bytes(keys_on_disk)
        layout = Layout(folder, folder)
        if grpc_door == "envoy":
            plane.door = stack.enter_context(running_door(plane.settings, layout))
        stream = RedisRequestLog(redis_url, prefix=f"{name}:")
        plane.labels = RedisLabels(redis_url, prefix=f"{name}:")
        plane.gateway = _make_gateway(plane, stream, key_store or plane.keys, layout)
        plane.gateway.on_versions_wanted = plane.announce_all
        await plane.gateway.start()
        if plane.door:
            await asyncio.to_thread(plane.door.wait_ready)
        try:
            async with httpx.AsyncClient(base_url=plane.http, timeout=20) as plane.client:
                yield plane
        finally:
            await plane.gateway.close()
            for replica in plane.replicas.values():
                await replica.close()
            await asyncio.gather(stream.close(), plane.labels.close())


def _make_gateway(plane: DataPlane, stream: RedisRequestLog, keys: KeyStore, layout: Layout) -> Gateway:
    folder = plane.folder
    spool = Spool.open(folder / "spool", "router-1", SpoolLimits())
    return Gateway(
        plane.settings,
        incarnation="router-1",
        token=TOKEN,
        store=plane.store,
        board=plane.board,
        recorder=Recorder(spool, incarnation="router-1"),
        shipper=Shipper(spool, stream, root=folder / "spool", interval_s=3600),
        labels=plane.labels,
        keys=keys,
        keys_file=folder / "keys.json",
        snapshot_file=folder / "policies.json",
        metrics_dir=folder / "metrics",
        slot=Slot.take(layout, plane.settings.routers) if plane.door else None,
    )
