"""The log as a folder of Parquet files: everything once, whatever dies when, and no more than was asked for."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from router.adapters.parquet.log import FolderTaken, ParquetLog
from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.request_log import RedisRequestLog
from router.layout import Layout
from router.requestlog.label import Label
from router.requestlog.record import Record, encode_record
from router.requestlog.rows import rows_of
from router.settings import Settings
from router.sink.follower import Follower
from router.sink.process import SinkProcess
from router.sink.sources import Records
from serving.protocol.arrays import to_tensor
from serving.protocol.packing import pack_tensors
from serving.telemetry.catalog import SINK_GAPS, SINK_LEFT_OUT
from serving.telemetry.instruments import Registry
from serving.telemetry.metric import CounterMetric
from tests.answers import a_record
from tests.full_disk import full_disk
from tests.valkey import running_valkey, short_folder
from tests.waiting import until

DAY = 86_400.0
AT = 1_700_000_000.0


def contents(folder: Path) -> list[str]:
    """Record ids as any reader of Parquet finds them."""
    dataset = ds.dataset(folder, format="parquet", partitioning="hive")
    return sorted(dataset.to_table(["record_id"])["record_id"].to_pylist()) if dataset.files else []


def keep(sink: ParquetLog, upto: str, *records: Record) -> None:
    for record in records:
        sink.add(rows_of(record))
    sink.commit(upto)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[ParquetLog]:
    made = ParquetLog(tmp_path / "log")
    yield made
    made.close()


def test_a_reader_finds_models_and_days_in_the_names_of_folders(sink: ParquetLog, tmp_path: Path) -> None:
    """As Hive lays tables out; what begins with an underscore is no data."""
    keep(sink, "1-0", a_record(1, at=AT), a_record(2, at=AT + DAY), a_record(3, at=AT, model="a model"))

    found = ds.dataset(tmp_path / "log", format="parquet", partitioning="hive").to_table(["model", "date", "record_id"])
    assert sorted(zip(*(found[name].to_pylist() for name in ("record_id", "model", "date")), strict=True)) == [
        ("r1#1", "flights", "2023-11-14"),
        ("r1#2", "flights", "2023-11-15"),
        ("r1#3", "a model", "2023-11-14"),
    ]
    assert sink.cursor == "1-0"


def test_a_successor_goes_on_where_a_stretch_was_committed(tmp_path: Path) -> None:
    """And deletes what was written of one that was not: it comes again."""
    first = ParquetLog(tmp_path)
    keep(first, "7-0", a_record(1))
    keep(first, "8-0", a_record(2))
    (tmp_path / "_cursor").write_text("7-0")  # as if it had been killed before the last step
    (part,) = tmp_path.rglob("part-7-0-*")
    half = part.with_name(f".{part.name}.0123abcd.tmp")
    half.write_bytes(b"PAR1")
    first.close()
    assert contents(tmp_path) == ["r1#1", "r1#2"]

    second = ParquetLog(tmp_path)
    before = contents(tmp_path)
    keep(second, "9-0", a_record(2), a_record(3))
    second.close()

    assert not half.exists()
    assert before == ["r1#1"]
    assert contents(tmp_path) == ["r1#1", "r1#2", "r1#3"]


def test_a_commit_that_failed_is_tried_again(sink: ParquetLog, tmp_path: Path) -> None:
    """With the same records and the same names, so that nothing is there twice."""
    sink.add(rows_of(a_record(1)))
    with full_disk(), pytest.raises(OSError, match="too large"):
        sink.commit("1-0")
    (tmp_path / "log" / "_cursor").mkdir()
    with pytest.raises(OSError, match="_cursor"):
        sink.commit("1-0")
    (tmp_path / "log" / "_cursor").rmdir()
    sink.commit("1-0")

    assert contents(tmp_path / "log") == ["r1#1"]


def test_clients_do_not_choose_how_many_files_there_are(sink: ParquetLog, tmp_path: Path) -> None:
    """Neither by features that they name, nor by widths, nor by tensors of requests that are refused."""
    packs = [pack_tensors([to_tensor("x", np.zeros((1, width)))]) for width in range(1, 40)]
    strange = [pack_tensors([to_tensor(f"x{n}", np.zeros((1, 1)))]) for n in range(40)]
    keep(
        sink,
        "1-0",
        *(a_record(n, features={f"u{n}": 9007199254740993 + n}, inputs=b"", outputs=b"") for n in range(100, 200)),
        *(a_record(200 + n, inputs=packed, outputs=b"") for n, packed in enumerate(packs)),
        *(a_record(300 + n, inputs=packed, outputs=b"", outcome="invalid") for n, packed in enumerate(strange)),
    )

    (part,) = (tmp_path / "log").rglob("*.parquet")
    rows = {row["record_id"]: row for row in pq.ParquetFile(part).read().to_pylist()}
    assert len(rows) == 100 + 39 + 40
    assert rows["r1#150"]["features"] == '{"u150":9007199254741143}'
    assert (rows["r1#200"]["input.x"], rows["r1#200"]["input.x[1]"], rows["r1#202"]["input.x[1]"]) == (0.0, None, 0.0)
    assert not [name for name in rows["r1#150"] if name.startswith("input.x1")]


def test_columns_whose_datatype_has_changed_are_apart(sink: ParquetLog, tmp_path: Path) -> None:
    """Another version may take other numbers, and a column has one type; what they have in common is read as one."""
    kinds = (np.float32, np.float64, np.float32)
    keep(
        sink,
        "1-0",
        *(
            a_record(n, inputs=pack_tensors([to_tensor("x", np.ones((1, 2), dtype=kind))]), outputs=b"")
            for n, kind in enumerate(kinds)
        ),
    )

    assert len(list((tmp_path / "log").rglob("*.parquet"))) == 2
    assert contents(tmp_path / "log") == ["r1#0", "r1#1", "r1#2"]


def test_a_folder_has_one_writer(sink: ParquetLog, tmp_path: Path) -> None:
    """Two would each delete what the other had not committed."""
    with pytest.raises(FolderTaken):
        ParquetLog(tmp_path / "log")


def test_the_oldest_files_go_when_there_is_too_much(tmp_path: Path) -> None:
    """And the folders that they leave empty."""
    sink = ParquetLog(tmp_path, max_bytes=40_000)
    for n in range(30):
        keep(sink, f"{n + 1}-0", a_record(n + 1, at=AT + n * DAY))
    sink.close()

    kept = contents(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    assert 25_000 < size <= 40_000
    assert kept == sorted(f"r1#{n}" for n in range(31 - len(kept), 31))
    assert len(list(tmp_path.glob("model=*/date=*"))) == len(kept)


def test_days_leave_as_they_grow_old(tmp_path: Path) -> None:
    """Whole days, counted back from the youngest record: a log that rests loses nothing."""
    sink = ParquetLog(tmp_path, retention_days=2)
    for n in range(5):
        keep(sink, f"{n + 1}-0", a_record(n + 1, at=AT + n * DAY))
    sink.close()

    assert contents(tmp_path) == ["r1#3", "r1#4", "r1#5"]


@pytest.fixture
def own_valkey() -> Iterator[Path]:
    """A Valkey whose keys have the names that a gateway gives them."""
    with short_folder() as folder, running_valkey(folder) as socket:
        yield socket


@asynccontextmanager
async def following(log: RedisRequestLog, sink: ParquetLog, **settings: Any) -> AsyncIterator[Registry]:
    """Follow until the block ends."""
    metrics = Registry("sink")
    task = asyncio.create_task(Follower(Records(log), sink, metrics, **settings).run())
    try:
        yield metrics
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def counted(metrics: Registry, metric: CounterMetric) -> float:
    return sum(metrics.snapshot().counters.get(metric.name, {}).values())


async def append(log: RedisRequestLog, first: int, count: int) -> None:
    """Ship records, ten an entry, as the router `r1`."""
    for start in range(first, first + count, 10):
        frames = b"".join(encode_record(a_record(n)) for n in range(start, start + 10))
        known = await log.shipped("r1")
        await log.append("r1", known, frames, known=known)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_the_stream_arrives_in_the_folder(valkey_socket: Path, tmp_path: Path) -> None:
    """Also what comes while it is read, and after a restart."""
    log = RedisRequestLog(f"unix://{valkey_socket}", prefix=f"test-{uuid4()}:")
    for life in range(2):
        sink = ParquetLog(tmp_path)
        await append(log, 100 * life + 1, 50)
        async with following(log, sink, stretch_s=0.0):
            await append(log, 100 * life + 51, 50)
            last = [entry.id async for entry in log.entries()][-1]
            await until(lambda sink=sink, last=last: sink.cursor == last)  # type: ignore[misc]
        sink.close()
    await log.close()

    assert contents(tmp_path) == sorted(f"r1#{n}" for n in range(1, 201))


@pytest.mark.slow
@pytest.mark.asyncio
async def test_the_process_waits_for_its_folder_and_then_fills_it(own_valkey: Path, tmp_path: Path) -> None:
    """As the settings say; a predecessor on another machine may take its time."""
    url, folder = f"unix://{own_valkey}", tmp_path / "log"
    log = RedisRequestLog(url)
    await append(log, 1, 10)
    labels = RedisLabels(url)
    await labels.add("flights", [Label("request-3", (1, 0)), Label("request-4", outcome=2.5)], at=AT)
    await labels.close()
    predecessor = ParquetLog(folder / "records")
    settings = Settings(
        state_dir=tmp_path,
        redis_url=url,
        log_parquet_folder=folder,
        log_parquet_interval_s=0.01,
        metrics_interval_s=0.1,
    )
    process = SinkProcess(settings, Layout(tmp_path, tmp_path))
    await process.start()
    try:
        await asyncio.sleep(0.1)
        process.check()
        assert contents(folder / "records") == []
        predecessor.close()
        await until(lambda: len(contents(folder / "records")) == 10)
        await until(lambda: len(list((folder / "labels").rglob("*.parquet"))) == 1)
    finally:
        await process.close()
        await log.close()
    assert any((tmp_path / "metrics").iterdir())
    found = ds.dataset(folder / "labels", format="parquet", partitioning="hive").to_table().to_pylist()
    assert [
        (row["model"], row["request_id"], row["row"], row["label_number"], row["outcome_value"]) for row in found
    ] == [
        ("flights", "request-3", 0, 1.0, None),
        ("flights", "request-3", 1, 0.0, None),
        ("flights", "request-4", 0, None, 2.5),
    ]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_what_left_redis_before_it_was_read_is_told(valkey_socket: Path, tmp_path: Path) -> None:
    """A gap in data for good is nothing to be silent about."""
    log = RedisRequestLog(f"unix://{valkey_socket}", prefix=f"test-{uuid4()}:")
    sink = ParquetLog(tmp_path)
    await append(log, 1, 10)
    place = [entry.id async for entry in log.entries()][-1]
    sink.commit(place)
    await append(log, 11, 10)
    await log.expire(0)
    await append(log, 21, 10)
    async with following(log, sink, stretch_s=0.0) as metrics:
        await until(lambda: sink.cursor != place)
    sink.close()
    await log.close()

    assert contents(tmp_path) == sorted(f"r1#{n}" for n in range(21, 31))
    assert counted(metrics, SINK_GAPS) == 1


class HeldUp(ParquetLog):
    """A log on a disk that takes its time."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.is_asked, self.go_on = threading.Event(), threading.Event()

    def commit(self, upto: str) -> int:
        self.is_asked.set()
        assert self.go_on.wait(30)
        return super().commit(upto)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_what_leaves_redis_while_the_sink_is_held_up_is_told_once(valkey_socket: Path, tmp_path: Path) -> None:
    """A full disk may hold it up for hours, in the midst of a read that then goes on behind the gap."""
    log = RedisRequestLog(f"unix://{valkey_socket}", prefix=f"test-{uuid4()}:")
    sink = HeldUp(tmp_path)
    await append(log, 1, 200)
    async with following(log, sink, stretch_bytes=1) as metrics:
        await until(sink.is_asked.is_set)
        await log.expire(0)
        await append(log, 201, 10)
        last = [entry.id async for entry in log.entries()][-1]
        sink.go_on.set()
        await until(lambda: sink.cursor == last)
        await append(log, 211, 10)
        last = [entry.id async for entry in log.entries()][-1]
        await until(lambda: sink.cursor == last)
    sink.close()
    await log.close()

    kept = {int(each.partition("#")[2]) for each in contents(tmp_path)}
    assert 1 in kept
    assert not {200} & kept
    assert kept >= set(range(201, 221))
    assert counted(metrics, SINK_GAPS) == 1


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_record_that_cannot_be_kept_keeps_none_out_that_follows(valkey_socket: Path, tmp_path: Path) -> None:
    """It is left out and counted: a sink that failed on it would fail on it for ever."""
    log = RedisRequestLog(f"unix://{valkey_socket}", prefix=f"test-{uuid4()}:")
    sink = ParquetLog(tmp_path)
    poison = [a_record(2, at=1e300), a_record(3, revision=1 << 63)]
    frames = [encode_record(each) for each in (a_record(1), *poison, a_record(4))]
    unreadable = frames[0][:-1] + b"?"
    await log.append("r1", 0, b"".join([frames[0], unreadable, *frames[1:]]), known=0)
    async with following(log, sink, stretch_s=0.0) as metrics:
        await until(lambda: sink.cursor != "0-0")
    sink.close()
    await log.close()

    assert contents(tmp_path) == ["r1#1", "r1#4"]
    assert counted(metrics, SINK_LEFT_OUT) == 3


def keep_for_ever(root: Path, url: str, prefix: str) -> None:
    """Follow, in a process that somebody will kill."""

    async def run() -> None:
        await Follower(
            Records(RedisRequestLog(url, prefix=prefix)),
            ParquetLog(root),
            Registry("sink"),
            stretch_bytes=20_000,
            stretch_s=0.0,
        ).run()

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_sink_that_is_killed_again_and_again_has_each_record_once(valkey_socket: Path, tmp_path: Path) -> None:
    """At whatever moment it dies."""
    url, prefix = f"unix://{valkey_socket}", f"test-{uuid4()}:"
    log = RedisRequestLog(url, prefix=prefix)
    await append(log, 1, 3000)
    last = [entry.id async for entry in log.entries()][-1]
    context = multiprocessing.get_context("forkserver")
    cursor = tmp_path / "_cursor"

    def place() -> str:
        return cursor.read_text() if cursor.exists() else ""

    for _ in range(5):
        process = context.Process(target=keep_for_ever, args=(tmp_path, url, prefix))
        before = place()
        process.start()
        await until(lambda before=before: place() != before or before == last)  # type: ignore[misc]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        process.close()
    sink = ParquetLog(tmp_path)
    async with following(log, sink, stretch_s=0.0):
        await until(lambda: sink.cursor == last)
    sink.close()
    await log.close()

    assert contents(tmp_path) == sorted(f"r1#{n}" for n in range(1, 3001))
