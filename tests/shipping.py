"""The way of records from a spool into a real Valkey: streams, shippers, answers to ship, and what to wait for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from router.adapters.files.spool import Spool
from router.adapters.redis.request_log import RedisRequestLog
from router.gateway.log.shipper import Shipper
from router.requestlog.record import read_records
from tests.answers import a_recorder, add_answer


@asynccontextmanager
async def a_stream(
    socket: Path, prefix: str = "shepherd:", retention_bytes: int = 1 << 30
) -> AsyncIterator[RedisRequestLog]:
    stream = RedisRequestLog(f"unix://{socket}", prefix=prefix, retention_bytes=retention_bytes)
    try:
        yield stream
    finally:
        await stream.close()


def a_shipper(spool: Spool, stream: RedisRequestLog, root: Path) -> Shipper:
    return Shipper(spool, stream, root=root, interval_s=0.01, adopt_interval_s=0.05)


def answer(spool: Spool, count: int, *, first: int = 1) -> None:
    """Answer requests `first` and on, a few per tick."""
    recorder = a_recorder(spool, spool.folder.incarnation)
    recorder._sequence = first - 1
    for n in range(first, first + count):
        add_answer(recorder, n)
        if n % 5 == 0:
            recorder.flush()
    recorder.flush()


async def raw_ids(stream: RedisRequestLog) -> list[str]:
    """Return the ids of all records in the stream, in order, duplicates and all."""
    return [record.id async for entry in stream.entries() for record in read_records(entry.records).records]


async def is_shipped(stream: RedisRequestLog, spool: Spool) -> bool:
    """Whether the stream has all that is in a spool."""
    return await stream.shipped(spool.folder.incarnation) == spool.folder.end


async def is_folded(root: Path, incarnation: str) -> bool:
    """Whether a spool is gone: all shipped, and its counts added to the totals."""
    return not (root / incarnation).exists()
