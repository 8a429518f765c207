"""The sink's process put together: whoever has a folder's lock fills it. Knows no Ray."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from router.adapters.parquet.log import FolderTaken, ParquetLog
from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.request_log import RedisRequestLog
from router.layout import Layout
from router.requestlog.rows import LABEL_COLUMNS
from router.settings import Settings
from router.sink.follower import Follower
from router.sink.sources import Labels, Records, Source
from serving.telemetry.catalog import SINK_LAG
from serving.telemetry.instruments import Registry
from serving.telemetry.publisher import Publisher

_RETRY_S: Final = 2.0
_log = logging.getLogger(__name__)


class SinkProcess:
    """Keeps the log for good; nothing that serves knows of it."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        assert settings.redis_url is not None, "the composition root has chosen one"
        assert settings.log_parquet_folder is not None, "there would be nothing to do"
        self._settings = settings
        self._folder = settings.log_parquet_folder
        self._stream = RedisRequestLog(settings.redis_url)
        self._labels = RedisLabels(settings.redis_url)
        self._metrics = Registry("sink")
        self._publisher = Publisher(self._metrics, layout.metrics_dir, interval_s=settings.metrics_interval_s)
        self._metrics.before_snapshot(self._refresh)
        self._sinks: list[ParquetLog] = []
        self._followers: list[Follower] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin."""
        await self._publisher.start()
        settings = self._settings
        days, max_bytes = settings.log_parquet_retention_days or None, settings.log_parquet_max_bytes or None
        records = partial(ParquetLog, self._folder / "records", retention_days=days, max_bytes=max_bytes)
        labels = partial(ParquetLog, self._folder / "labels", retention_days=days, columns=LABEL_COLUMNS)
        self._tasks = [
            asyncio.create_task(self._fill(records, Records(self._stream)), name="records"),
            asyncio.create_task(self._fill(labels, Labels(self._labels)), name="labels"),
        ]

    def check(self) -> None:
        """Raise what has ended the sink, if anything has: a successor begins where it has committed."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def close(self) -> None:
        """Stop, and let a successor begin at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sink in self._sinks:
            sink.close()
        await self._publisher.close()
        await asyncio.gather(self._stream.close(), self._labels.close())

    def _refresh(self) -> None:
        self._metrics.gauge(SINK_LAG).set(max((each.lag_s for each in self._followers), default=0.0))

    async def _fill(self, take: Callable[[], ParquetLog], source: Source) -> None:
        sink = await self._take(take)
        self._sinks.append(sink)
        follower = Follower(source, sink, self._metrics, stretch_s=self._settings.log_parquet_interval_s)
        self._followers.append(follower)
        try:
            await follower.run()
        except Exception:
            _log.exception("The sink has failed; its successor begins where it has committed")
            raise

    async def _take(self, take: Callable[[], ParquetLog]) -> ParquetLog:
        """Wait for a folder: a predecessor may still hold it, or another gateway's sink write there."""
        is_said = False
        while True:
            try:
                return await asyncio.to_thread(take)
            except (FolderTaken, OSError) as error:
                if not is_said:
                    _log.warning("The sink waits for its folder: %s", error)
                is_said = True
            await asyncio.sleep(_RETRY_S)
