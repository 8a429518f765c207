"""The request log's way into a real Valkey: exactly once, through outages and a full spool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis import Redis

from router.adapters.files.spool import SpoolLimits
from router.adapters.files.spool_accounting import LocalLogAccounting
from router.adapters.files.spool_folder import adopt
from router.adapters.redis.request_log import RedisRequestLog
from router.gateway.log.shipper import ENTRY_BYTES, Transfer
from router.ports import StoreUnavailable
from router.requestlog.record import read_records
from tests.answers import a_recorder, a_spool, add_answer
from tests.shipping import a_shipper, a_stream, answer, is_shipped, raw_ids
from tests.valkey import running_valkey, short_folder
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]


@pytest_asyncio.fixture
async def stream(valkey_socket: Path, prefix: str) -> AsyncIterator[RedisRequestLog]:
    async with a_stream(valkey_socket, prefix=prefix) as stream:
        yield stream


class LosesAnswers:
    """A stream over a connection that breaks after each append is done and before its answer is read."""

    def __init__(self, stream: RedisRequestLog) -> None:
        self._stream = stream
        self.lost = 0

    async def shipped(self, incarnation: str) -> int:
        return await self._stream.shipped(incarnation)

    async def append(self, incarnation: str, offset: int, records: bytes, *, known: int) -> int:
        await self._stream.append(incarnation, offset, records, known=known)
        self.lost += 1
        raise StoreUnavailable("connection lost")

    async def forget(self, incarnation: str) -> None:
        await self._stream.forget(incarnation)


async def test_every_record_arrives_once_and_in_order(tmp_path: Path, stream: RedisRequestLog) -> None:
    """From the spool, over several segments, while it is written; what is shipped leaves the disk."""
    spool = a_spool(tmp_path)
    shipper = a_shipper(spool, stream, tmp_path)
    shipper.start()
    for part in range(5):
        answer(spool, 100, first=100 * part + 1)
        await asyncio.sleep(0)

    assert await shipper.stop()

    assert await raw_ids(stream) == [f"r1#{n}" for n in range(1, 501)]
    assert [record.request_id async for record in stream.records()] == [f"request-{n}" for n in range(1, 501)]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


async def test_the_counts_outlive_the_gateway(tmp_path: Path, stream: RedisRequestLog) -> None:
    """A clean stop leaves no folder and all counts; the next start adds to them."""
    accounting = LocalLogAccounting(tmp_path)
    for life in (1, 2):
        spool = a_spool(tmp_path, f"life-{life}")
        shipper = a_shipper(spool, stream, tmp_path)
        shipper.start()
        answer(spool, 100)
        await shipper.stop()

        document = await accounting.accounting()
        assert document["logged"] == document["requests"] == 100 * life
        assert document["spool"]["waiting_bytes"] == 0

    assert document["spool"]["shipped_bytes"] == sum([len(entry.records) async for entry in stream.entries()])


async def test_entries_carry_whole_records_and_stay_small(tmp_path: Path, stream: RedisRequestLog) -> None:
    """A stream entry is at most 256 KiB, unless one record alone is larger."""
    spool = a_spool(tmp_path, limits=SpoolLimits())
    recorder = a_recorder(spool, payload_max_bytes=1 << 20)
    for n in range(1, 400):
        add_answer(recorder, n, inputs=bytes(ENTRY_BYTES + 1 if n == 200 else 4000))
    recorder.flush()

    await Transfer(spool.folder, stream).ship(100)

    readings = [(len(entry.records), read_records(entry.records)) async for entry in stream.entries()]
    assert all(size <= ENTRY_BYTES or len(reading.records) == 1 for size, reading in readings)
    assert all(reading.consumed == size for size, reading in readings)
    assert sum(len(reading.records) for _, reading in readings) == 399
    assert len(readings) < 12


async def test_an_append_whose_answer_was_lost_is_not_repeated(tmp_path: Path, stream: RedisRequestLog) -> None:
    """After a failure the offset is read back from where the records are."""
    spool = a_spool(tmp_path)
    answer(spool, 300)
    flaky = LosesAnswers(stream)
    transfer = Transfer(spool.folder, flaky)

    while await stream.shipped("r1") < spool.folder.end:
        with pytest.raises(StoreUnavailable):
            await transfer.ship(100)

    assert not await transfer.ship(100)
    assert flaky.lost > 1
    assert await raw_ids(stream) == [f"r1#{n}" for n in range(1, 301)]


async def test_two_shippers_of_one_spool_do_not_double_it(tmp_path: Path, stream: RedisRequestLog) -> None:
    """An append counts only from the offset that its sender knew: also one that was stuck in a dead connection."""
    spool = a_spool(tmp_path)
    answer(spool, 300)

    await asyncio.gather(*(Transfer(spool.folder, stream).ship(100) for _ in range(4)))

    assert await raw_ids(stream) == [f"r1#{n}" for n in range(1, 301)]


async def test_an_outage_delays_records_and_loses_none(tmp_path: Path) -> None:
    """Answers go on being recorded; when Valkey is back, after a restart of its own, the stream has them all."""
    spool = a_spool(tmp_path)
    with short_folder() as folder:
        async with a_stream(folder / "valkey.sock") as stream:
            shipper = a_shipper(spool, stream, tmp_path)
            with running_valkey(folder):
                shipper.start()
                answer(spool, 100)
                await until(lambda: is_shipped(stream, spool))
            answer(spool, 100, first=101)
            await until(lambda: is_away(stream))
            answer(spool, 100, first=201)
            with running_valkey(folder):
                await until(lambda: is_shipped(stream, spool))
                assert await shipper.stop()

                assert await raw_ids(stream) == [f"r1#{n}" for n in range(1, 301)]


async def test_at_the_bound_records_are_dropped_and_counted_and_later_ones_kept(tmp_path: Path) -> None:
    """With nowhere to ship to, the disk's bound decides; the counts say what the stream will lack."""
    spool = a_spool(tmp_path, limits=SpoolLimits(max_bytes=40_000, segment_bytes=4_000))
    with short_folder() as folder:
        async with a_stream(folder / "valkey.sock") as stream:
            shipper = a_shipper(spool, stream, tmp_path)
            shipper.start()
            answer(spool, 1000)
            during = LocalLogAccounting(tmp_path).read()
            with running_valkey(folder):
                await until(lambda: is_shipped(stream, spool))
                answer(spool, 10, first=1001)
                assert await shipper.stop()
                arrived = await raw_ids(stream)

    after = LocalLogAccounting(tmp_path).read()
    assert during["requests"] == 1000
    assert during["dropped"] == after["dropped"] == {"spool_full": 1000 - during["logged"]}
    assert after["logged"] == during["logged"] + 10 == len(arrived) == len(set(arrived))
    assert arrived[-10:] == [f"r1#{n}" for n in range(1001, 1011)]


async def test_a_stream_that_was_lost_does_not_stop_the_log(
    tmp_path: Path, valkey_socket: Path, stream: RedisRequestLog, prefix: str
) -> None:
    """Records that are gone on both sides stay gone; those still on disk, and all later ones, arrive."""
    spool = a_spool(tmp_path)
    answer(spool, 200)
    await Transfer(spool.folder, stream).ship(100)
    with Redis(unix_socket_path=str(valkey_socket)) as redis:
        redis.delete(f"{prefix}log", f"{prefix}log:offsets", f"{prefix}log:bytes")
    kept_from = spool.folder.start
    assert 0 < kept_from < spool.folder.end

    answer(spool, 100, first=201)
    await Transfer(spool.folder, stream).ship(100)

    ids = await raw_ids(stream)
    assert ids == [f"r1#{n}" for n in range(301 - len(ids), 301)]
    assert 100 < len(ids) < 300


async def test_a_segment_deleted_by_hand_costs_its_records_only(tmp_path: Path, stream: RedisRequestLog) -> None:
    """The log goes on behind the gap."""
    spool = a_spool(tmp_path)
    answer(spool, 200)
    spool.folder.segment_path(0).unlink()

    await Transfer(spool.folder, stream).ship(100)

    ids = await raw_ids(stream)
    assert ids == [f"r1#{n}" for n in range(201 - len(ids), 201)]
    assert len(ids) > 150


async def test_the_oldest_entries_go_when_the_stream_is_over_its_bound(
    tmp_path: Path, valkey_socket: Path, prefix: str
) -> None:
    """Redis holds the log in memory: its size is bounded in bytes, however small the entries."""
    spool = a_spool(tmp_path)
    async with a_stream(valkey_socket, prefix, retention_bytes=10_000) as stream:
        transfer = Transfer(spool.folder, stream)
        for n in range(100):
            answer(spool, 3, first=3 * n + 1)
            await transfer.ship(1)

        sizes = [len(entry.records) async for entry in stream.entries()]
        ids = await raw_ids(stream)
    assert 10_000 - max(sizes) < sum(sizes) <= 10_000
    assert ids == [f"r1#{n}" for n in range(301 - len(ids), 301)]
    assert adopt(spool.folder.path) is None


async def test_reading_goes_on_from_an_entry(tmp_path: Path, stream: RedisRequestLog) -> None:
    """A consumer keeps its place by the stream's ids."""
    spool = a_spool(tmp_path)
    transfer = Transfer(spool.folder, stream)
    answer(spool, 50)
    await transfer.ship(100)
    place = [entry.id async for entry in stream.entries()][-1]
    answer(spool, 50, first=51)
    await transfer.ship(100)

    rest = [record.id async for record in stream.records(after=place)]

    assert rest == [f"r1#{n}" for n in range(51, 101)]


async def test_a_stream_that_cannot_be_reached_says_what_that_means(tmp_path: Path) -> None:
    """The message is for the operator's log."""
    async with a_stream(tmp_path / "nowhere.sock") as stream:
        with pytest.raises(StoreUnavailable, match="records wait on disk"):
            await stream.shipped("r1")


async def test_records_leave_the_stream_when_they_are_too_old(tmp_path: Path, stream: RedisRequestLog) -> None:
    """Whatever their number; the bytes that are left stay counted right."""
    spool = a_spool(tmp_path)
    for part in range(100):
        answer(spool, 1, first=part + 1)
        await Transfer(spool.folder, stream).ship(1)

    assert await stream.expire(3600) == 0
    assert await stream.expire(0) == 100

    assert await raw_ids(stream) == []
    assert int(await stream._redis.get(stream._bytes) or 0) == 0


async def is_away(stream: RedisRequestLog) -> bool:
    try:
        await stream.shipped("r1")
    except StoreUnavailable:
        return True
    return False
