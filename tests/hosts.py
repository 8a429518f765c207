"""Shared hosts without Ray: in the test's process, or in one of their own that a test may have killed."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import msgspec

from serving.backends.outgoing import Reach
from serving.channel.endpoint import Endpoint
from serving.deployment.hosting.host_files import Guest, HostFiles, guest_name
from serving.deployment.hosting.model_host import ModelHost
from serving.deployment.spec import HostSpec, VersionSpec
from serving.protocol.messages import Signature
from serving.registry.artifact import VersionInfo
from serving.registry.cache import ArtifactCache
from serving.registry.golden_recording import record, write_golden
from serving.registry.model_files import place_model
from serving.registry.options import parse_options
from serving.telemetry.instruments import Registry
from tests.data_plane import MODEL, TOKEN
from tests.forking import processes_of

HOST = 1
_PROCESSES = processes_of(__name__)


class HostFolder:
    """Versions of one model as guests of one host; a folder stands for the gateway's state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = HostFiles(folder)
        self.cache = ArtifactCache(folder / "cache")
        self.guests: dict[int, Guest] = {}

    def add(
        self, version: int, onnx: bytes | None, *, tags: Mapping[str, str] | None = None, kept: bool = False
    ) -> None:
        """Register a version, and put it on the host's list."""
        signature = self.register(version, onnx, tags=tags)
        self.guests[version] = Guest(version_spec(self.folder, MODEL, version, tags or {}), 1000, signature, kept)
        self.write()

    def register(self, version: int, onnx: bytes | None, *, tags: Mapping[str, str] | None = None) -> Signature:
        """Put a version's verified files into the cache; return what the model takes and gives."""
        tags = tags or {}
        with self.cache.staging_folder() as files:
            recording = record(place_model(files, onnx), parse_options(tags), None, Reach())
            write_golden(files, recording.golden)
            self.cache.release(self.cache.add(files, VersionInfo(MODEL, version, tags=tags), {}))
        return recording.signature

    def ask(self, version: int, *, at: float) -> None:
        """Ask for a version at a time in Unix seconds."""
        self.guests[version] = msgspec.structs.replace(self.guests[version], asked_at=at)
        self.write()

    def remove(self, version: int) -> None:
        """Take a version off the list."""
        del self.guests[version]
        self.write()

    def write(self) -> None:
        """Let the host know."""
        self.files.write_guests(HOST, list(self.guests.values()))

    def at(self, version: int, endpoint: Endpoint) -> Endpoint:
        """Say where a guest is, as routers learn it."""
        guest = self.guests[version]
        return msgspec.structs.replace(endpoint, guest=guest_name(MODEL, version), signature=guest.signature)

    def state(self, version: int) -> str:
        """Read what the host last said of a version; empty when it said nothing."""
        report = self.files.read_report(HOST).guests.get(guest_name(MODEL, version))
        return report.state if report else ""

    async def until(self, version: int, state: str) -> None:
        """Wait for it."""
        async with asyncio.timeout(20):
            while self.state(version) != state:
                await asyncio.sleep(0.02)


def version_spec(folder: Path, model: str, version: int, tags: Mapping[str, str]) -> VersionSpec:
    """Specify a version whose files lie in the folder's cache."""
    return VersionSpec(
        model=model,
        version=version,
        state_dir=folder,
        registry_uri=None,
        run_dir=folder,
        metrics_dir=folder,
        logs_dir=folder,
        cache_max_bytes=1 << 30,
        tags=tags,
    )


def host_spec(folder: Path, *, max_loaded: int = 32, cold_after_s: float = 300.0) -> HostSpec:
    """Specify the one host of a folder."""
    return HostSpec(
        number=HOST,
        state_dir=folder,
        run_dir=folder,
        metrics_dir=folder,
        logs_dir=folder,
        cache_max_bytes=1 << 30,
        max_loaded=max_loaded,
        cold_after_s=cold_after_s,
        drain_timeout_s=5.0,
    )


@asynccontextmanager
async def running_host(spec: HostSpec, name: str = "a") -> AsyncIterator[ModelHost]:
    """Run a host in this process."""
    host = ModelHost(spec, token=TOKEN, registry=Registry(f"host-{name}"), replica_id=name, node="here")
    await host.start()
    try:
        yield host
    finally:
        await host.close()


@contextmanager
def host_process(spec: HostSpec, name: str) -> Iterator[tuple[ForkServerProcess, Endpoint]]:
    """Run a host in a process of its own, which may die; nothing of it outlives the block."""
    here, there = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_serve, args=(spec, name, there), daemon=True)
    process.start()
    there.close()
    try:
        yield process, msgspec.json.decode(here.recv_bytes(), type=Endpoint)
    finally:
        process.kill()
        process.join()
        here.close()


def _serve(spec: HostSpec, name: str, pipe: multiprocessing.connection.Connection) -> None:
    async def serve() -> None:
        async with running_host(spec, name) as host:
            pipe.send_bytes(msgspec.json.encode(host.endpoint))
            await asyncio.Event().wait()

    asyncio.run(serve())
