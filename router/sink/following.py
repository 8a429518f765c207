"""Follows the request log's stream and hands it, stretch by stretch, to a sink. Knows no Ray."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from router.adapters.redis_request_log import LogEntry, RedisRequestLog
from router.ports import RecordSink, StoreUnavailable
from router.requestlog.record import FirstSeen, read_records
from router.requestlog.rows import rows_of
from serving.telemetry.catalog import SINK_GAPS, SINK_LAG, SINK_RECORDS
from serving.telemetry.instruments import Registry

_POLL_S: Final = 1.0
_RETRY_S: Final = 5.0
_log = logging.getLogger(__name__)


class Following:
    """One reader, from where the sink stands on."""

    def __init__(
        self,
        log: RedisRequestLog,
        sink: RecordSink,
        metrics: Registry,
        *,
        stretch_bytes: int = 32 << 20,
        stretch_s: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare to follow.

        Args:
            log: the stream.
            sink: where records go.
            metrics: what is counted, is counted here.
            stretch_bytes: recorded bytes after which a stretch is committed.
            stretch_s: seconds after which one is committed that has less.
            clock: Unix seconds.
        """
        self._log = log
        self._sink = sink
        self._stretch_bytes = stretch_bytes
        self._stretch_s = stretch_s
        self._clock = clock
        self._seen = FirstSeen()
        self._records = metrics.counter(SINK_RECORDS)
        self._gaps = metrics.counter(SINK_GAPS)
        self._lag = metrics.gauge(SINK_LAG)
        self._pending_bytes = self._pending_records = 0
        self._since: float | None = None
        """When the first record of the stretch was read."""

    async def run(self) -> None:
        """Go on until cancelled, whatever goes away and comes back."""
        after = self._sink.cursor
        await self._look_for_gap(after)
        while True:
            try:
                async for entry in self._log.entries(after):
                    after = entry.id
                    await asyncio.to_thread(self._take, entry)
                    if self._pending_bytes >= self._stretch_bytes:
                        await self._commit(after)
                if self._since is not None and self._clock() - self._since >= self._stretch_s:
                    await self._commit(after)
                elif self._since is None:
                    self._lag.set(0.0)
                await asyncio.sleep(_POLL_S)
            except StoreUnavailable as error:
                _log.warning("The sink waits: %s", error)
                await asyncio.sleep(_RETRY_S)

    def _take(self, entry: LogEntry) -> None:
        for record in read_records(entry.records).records:
            if not self._seen.is_new(record):
                continue
            try:
                rows = rows_of(record)
            except (ValueError, OverflowError):  # a clock that was far off: no calendar has its day
                _log.warning("Record %s cannot be laid out and is left out", record.id)
                continue
            self._sink.add(rows)
            self._pending_records += 1
        self._pending_bytes += len(entry.records)
        if self._since is None:
            self._since = self._clock()

    async def _commit(self, upto: str) -> None:
        """Commit, however long the sink refuses; nothing is read meanwhile, so no more piles up."""
        while True:
            try:
                await asyncio.to_thread(self._sink.commit, upto)
                break
            except OSError as error:
                _log.warning("The sink cannot be written: %s", error)
                await asyncio.sleep(_RETRY_S)
        self._records.add(self._pending_records)
        self._lag.set(max(0.0, self._clock() - int(upto.partition("-")[0]) / 1000))
        self._pending_bytes = self._pending_records = 0
        self._since = None

    async def _look_for_gap(self, cursor: str) -> None:
        """Say when Redis has let records go that the sink never had."""
        while True:
            try:
                is_gap = cursor != "0-0" and await self._log.has_lost_after(cursor)
                break
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_S)
        if is_gap:
            self._gaps.add(1)
            _log.warning("Records after %s left Redis before the sink read them; log_retention_bytes is small", cursor)
