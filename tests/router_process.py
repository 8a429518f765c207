"""Routers in processes of their own, to be killed by tests; replicas stay in the test's process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

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
from router.policy.document import parse_policy
from router.settings import Settings
from serving.channel.endpoint import Endpoint
from tests.forking import processes_of

_PROCESSES = processes_of(__name__)


@contextmanager
def running_router(
    name: str,
    *,
    settings: Settings,
    redis_url: str,
    token: bytes,
    policy: dict[str, Any],
    endpoints: Sequence[Endpoint],
) -> Iterator[ForkServerProcess]:
    """Run a router behind the gRPC door that sends `policy`'s model to `endpoints`; it does not outlive the block."""
    here, there = _PROCESSES.Pipe(duplex=False)
    answering = {"token": token, "policy": policy, "endpoints": tuple(endpoints)}
    process = _PROCESSES.Process(target=_serve, args=(there, name, settings, redis_url), kwargs=answering, daemon=True)
    process.start()
    there.close()
    try:
        assert here.recv() == "ready"
        yield process
    finally:
        process.kill()
        process.join()
        process.close()
        here.close()


def _serve(pipe: Connection, name: str, settings: Settings, redis_url: str, **answering: Any) -> None:
    asyncio.run(_route(pipe, name, settings, redis_url, **answering))


async def _route(
    pipe: Connection,
    name: str,
    settings: Settings,
    redis_url: str,
    *,
    token: bytes,
    policy: dict[str, Any],
    endpoints: Sequence[Endpoint],
) -> None:
    folder = Path(settings.state_dir)
    store = MemoryPolicyStore()
    await store.put(parse_policy(policy), expected_revision=0, actor="test", reason="test", at=0.0)
    spool = Spool.open(folder / "spool", name, SpoolLimits())
    gateway = Gateway(
        settings,
        incarnation=name,
        token=token,
        store=store,
        board=MemoryVersionBoard(),
        recorder=Recorder(spool, incarnation=name),
        keys=MemoryKeyStore(store),
        keys_file=folder / f"{name}-keys.json",
        labels=RedisLabels(redis_url, prefix=f"{name}:"),
        shipper=Shipper(spool, RedisRequestLog(redis_url, prefix=f"{name}:"), root=folder / "spool", interval_s=3600),
        snapshot_file=folder / f"{name}.json",
        metrics_dir=folder / "metrics",
        slot=Slot.take(Layout(folder, folder), settings.routers),
    )

    def discover(wanted: frozenset[tuple[str, int]]) -> None:
        for model, version in wanted:
            gateway.set_endpoints(model, version, endpoints)

    gateway.on_versions_wanted = discover
    await gateway.start()
    pipe.send("ready")
    await asyncio.Event().wait()
