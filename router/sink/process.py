"""The sink's process put together: whoever has the folder's lock follows the log. Knows no Ray."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from router.adapters.parquet_log import FolderTaken, ParquetLog
from router.adapters.redis_request_log import RedisRequestLog
from router.layout import Layout
from router.settings import Settings
from router.sink.following import Following
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
        self._metrics = Registry("sink")
        self._publisher = Publisher(self._metrics, layout.metrics_dir, interval_s=settings.metrics_interval_s)
        self._sink: ParquetLog | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        await self._publisher.start()
        self._task = asyncio.create_task(self._run(), name="sink")

    def check(self) -> None:
        """Raise what has ended the sink, if anything has: a successor begins where it has committed."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def close(self) -> None:
        """Stop, and let a successor begin at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._sink is not None:
            self._sink.close()
        await self._publisher.close()
        await self._stream.close()

    async def _run(self) -> None:
        self._sink = await self._take_folder()
        stretch_s = self._settings.log_parquet_interval_s
        await Following(self._stream, self._sink, self._metrics, stretch_s=stretch_s).run()

    async def _take_folder(self) -> ParquetLog:
        """Wait for the folder: a predecessor may still hold it, or another gateway's sink write there."""
        settings, is_said = self._settings, False
        while True:
            try:
                return await asyncio.to_thread(
                    ParquetLog,
                    self._folder,
                    max_bytes=settings.log_parquet_max_bytes or None,
                    retention_days=settings.log_parquet_retention_days or None,
                )
            except (FolderTaken, OSError) as error:
                if not is_said:
                    _log.warning("The sink waits for its folder: %s", error)
                is_said = True
            await asyncio.sleep(_RETRY_S)
