"""Reads the request log for the command line: its latest records, and all of it beside its labels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NamedTuple

from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.request_log import RedisRequestLog
from router.cli.client import GatewayUnreachable
from router.ports import StoreUnavailable
from router.requestlog.record import FirstSeen, Record, read_records
from router.requestlog.rows import LabelsAsOf, rows_of

if TYPE_CHECKING:
    from router.adapters.parquet.folder import RowSink

_FOLLOW_PERIOD_S: Final = 0.5


class Wanted(NamedTuple):
    """Which records; times in Unix seconds, both ends included."""

    model: str | None = None
    since: float = 0.0
    as_of: float = float("inf")

    def has(self, record: Record) -> bool:
        """Tell whether a record is among them."""
        return self.model in {None, record.model} and self.since <= record.at <= self.as_of


class Exported(NamedTuple):
    """How much there was."""

    records: int
    rows: int
    labelled: int
    left_out: int
    """Records that are no rows of such a table, whatever the reason: their time is in no calendar, say."""


def show_latest(url: str, wanted: Wanted, count: int, each: Callable[[Record], None], *, follow: bool) -> None:
    """Call for each of the latest records in their order, then for those that come.

    Raises:
        GatewayUnreachable: Redis does not answer.
    """

    async def run(stream: RedisRequestLog) -> None:
        async with aclosing(_latest(stream, wanted, count, follow=follow)) as records:
            async for record in records:
                each(record)

    _with_log(url, run)


def export_log(url: str, wanted: Wanted, sink: RowSink) -> Exported:
    """Write records into a sink, each once, with what was known of them as of the time wanted.

    Raises:
        GatewayUnreachable: Redis does not answer.
        OSError: the sink cannot be written.
    """
    records = rows = labelled = left_out = 0

    async def run(stream: RedisRequestLog) -> None:
        nonlocal records, rows, labelled, left_out
        known = await _labels(url, wanted.as_of)
        async for record in stream.records():
            if not wanted.has(record):
                continue
            label = known.of(record)
            try:
                laid_out = rows_of(record, label)
            except ValueError:
                left_out += 1
                continue
            sink.write(laid_out)
            records, rows, labelled = records + 1, rows + len(laid_out.rows), labelled + (label is not None)
        left_out += sink.close()

    _with_log(url, run)
    return Exported(records, rows, labelled, left_out)


async def _labels(url: str, as_of: float) -> LabelsAsOf:
    known, labels = LabelsAsOf(as_of), RedisLabels(url)
    try:
        async for entry in labels.entries():
            known.add(entry.model, entry.label, entry.at)
    finally:
        await labels.close()
    return known


async def _latest(stream: RedisRequestLog, wanted: Wanted, count: int, *, follow: bool) -> AsyncGenerator[Record, None]:
    seen, after = FirstSeen(), "0-0"
    latest: list[Record] = []
    async for entry in stream.entries_backwards():
        after = entry.id if after == "0-0" else after
        latest = [each for each in read_records(entry.records).records if wanted.has(each)] + latest
        if len(latest) >= count:
            break
    for record in latest[max(0, len(latest) - count) :]:
        if seen.is_new(record):
            yield record
    while follow:
        async for entry in stream.entries(after):
            after = entry.id
            for record in read_records(entry.records).records:
                if wanted.has(record) and seen.is_new(record):
                    yield record
        await asyncio.sleep(_FOLLOW_PERIOD_S)


def _with_log(url: str, job: Callable[[RedisRequestLog], Awaitable[None]]) -> None:
    async def run() -> None:
        stream = RedisRequestLog(url)
        try:
            await job(stream)
        finally:
            await stream.close()

    try:
        asyncio.run(run())
    except StoreUnavailable as error:
        raise GatewayUnreachable(str(error)) from None
