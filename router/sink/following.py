"""Follows a stream and hands it, stretch by stretch, to a sink. Knows no Ray."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from router.ports import RecordSink, StoreUnavailable
from router.sink.sources import Read, Source
from serving.telemetry.catalog import SINK_GAPS, SINK_ROWS
from serving.telemetry.instruments import Registry

_POLL_S: Final = 1.0
_RETRY_S: Final = 5.0
_log = logging.getLogger(__name__)


class Following:
    """One reader, from where the sink stands on."""

    def __init__(
        self,
        source: Source,
        sink: RecordSink,
        metrics: Registry,
        *,
        stretch_bytes: int = 32 << 20,
        stretch_s: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare to follow.

        Args:
            source: where rows come from.
            sink: where they go.
            metrics: what is counted, is counted here.
            stretch_bytes: about how much is taken before it is committed.
            stretch_s: seconds after which less is committed too.
            clock: Unix seconds.
        """
        self._source = source
        self._sink = sink
        self._stretch_bytes = stretch_bytes
        self._stretch_s = stretch_s
        self._clock = clock
        self._rows = metrics.counter(SINK_ROWS)
        self._gaps = metrics.counter(SINK_GAPS)
        self._pending_bytes = self._pending_rows = 0
        self._since: float | None = None
        """When the first row of the stretch was read."""
        self.lag_s = 0.0
        """Age of what was committed last; 0 when nothing waits."""

    async def run(self) -> None:
        """Go on until cancelled, whatever goes away and comes back."""
        after = self._sink.cursor
        await self._look_for_gap(after)
        while True:
            try:
                async for read in self._source.read(after):
                    after = read.place
                    self._take(read)
                    if self._pending_bytes >= self._stretch_bytes:
                        await self._commit(after)
                if self._since is not None and self._clock() - self._since >= self._stretch_s:
                    await self._commit(after)
                elif self._since is None:
                    self.lag_s = 0.0
                await asyncio.sleep(_POLL_S)
            except StoreUnavailable as error:
                _log.warning("The sink waits: %s", error)
                await asyncio.sleep(_RETRY_S)

    def _take(self, read: Read) -> None:
        for rows in read.rows:
            self._sink.add(rows)
            self._pending_rows += len(rows.rows)
        self._pending_bytes += read.size_bytes
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
        self._rows.add(self._pending_rows)
        self.lag_s = max(0.0, self._clock() - int(upto.partition("-")[0]) / 1000)
        self._pending_bytes = self._pending_rows = 0
        self._since = None

    async def _look_for_gap(self, cursor: str) -> None:
        """Say when Redis has let something go that the sink never had."""
        while True:
            try:
                is_gap = cursor != "0-0" and await self._source.has_lost_after(cursor)
                break
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_S)
        if is_gap:
            self._gaps.add(1)
            _log.warning("Records after %s left Redis before the sink read them; log_retention_bytes is small", cursor)
