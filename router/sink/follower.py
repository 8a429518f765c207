"""Follows a stream and hands it, stretch by stretch, to a sink. Knows no Ray."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from router.cancellation import end_if_cancelled
from router.ports import RecordSink, StoreUnavailable
from router.sink.sources import Read, Source
from serving.telemetry.catalog import SINK_GAPS, SINK_LEFT_OUT, SINK_ROWS
from serving.telemetry.instruments import Registry

_POLL_S: Final = 1.0
_RETRY_S: Final = 5.0
_log = logging.getLogger(__name__)


class Follower:
    """One reader, from where the sink stands on."""

    def __init__(
        self,
        source: Source,
        sink: RecordSink,
        metrics: Registry,
        *,
        stretch_bytes: int = 32 << 20,
        stretch_rows: int = 100_000,
        stretch_s: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare to follow.

        Args:
            source: where rows come from.
            sink: where they go.
            metrics: what is counted, is counted here.
            stretch_bytes: about how much is taken before it is committed.
            stretch_rows: about how many rows are: a request of a few bytes may have very many.
            stretch_s: seconds after which less is committed too.
            clock: Unix seconds.
        """
        self._source = source
        self._sink = sink
        self._stretch_bytes = stretch_bytes
        self._stretch_rows = stretch_rows
        self._stretch_s = stretch_s
        self._clock = clock
        self._rows = metrics.counter(SINK_ROWS)
        self._gaps = metrics.counter(SINK_GAPS)
        self._left_out = metrics.counter(SINK_LEFT_OUT)
        self._pending_bytes = self._pending_rows = 0
        self._since: float | None = None
        """When the first row of the stretch was read."""
        self.lag_s = 0.0
        """Age of what was committed last; 0 when nothing waits."""

    async def run(self) -> None:
        """Go on until cancelled, whatever goes away and comes back."""
        after = self._sink.cursor
        while True:
            end_if_cancelled()
            try:
                async for read in self._source.read(after):
                    if read.is_after_gap:
                        self._tell_gap(after)
                    after = read.place
                    self._take(read)
                    if self._pending_bytes >= self._stretch_bytes or self._pending_rows >= self._stretch_rows:
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
        self._left_out.add(read.left_out)
        for rows in read.rows:
            try:
                self._sink.add(rows)
            except ValueError as error:
                _log.error("The sink cannot hold a record of %s, and it is left out: %s", rows.model, error)
                self._left_out.add(1)
            else:
                self._pending_rows += len(rows.rows)
        self._pending_bytes += read.size_bytes
        if self._since is None:
            self._since = self._clock()

    async def _commit(self, upto: str) -> None:
        """Commit, however long the sink refuses; nothing is read meanwhile, so no more piles up."""
        while True:
            try:
                left_out = await asyncio.to_thread(self._sink.commit, upto)
                break
            except OSError as error:
                _log.warning("The sink cannot be written: %s", error)
                await asyncio.sleep(_RETRY_S)
        self._left_out.add(left_out)
        self._rows.add(self._pending_rows)
        self.lag_s = max(0.0, self._clock() - int(upto.partition("-")[0]) / 1000)
        self._pending_bytes = self._pending_rows = 0
        self._since = None

    def _tell_gap(self, after: str) -> None:
        self._gaps.add(1)
        _log.error("Records after %s left Redis before the sink had read them: they are lost to it", after)
