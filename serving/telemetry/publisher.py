"""Writes this process' metrics to its file, each half second and once more at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from serving.telemetry.catalog import PUBLISH_FAILURES
from serving.telemetry.folder import write_snapshot
from serving.telemetry.instruments import Registry

_log = logging.getLogger(__name__)


class Publisher:
    """Owns the task that publishes one registry. A process that is killed loses at most the last `interval_s`."""

    def __init__(self, registry: Registry, folder: Path, *, interval_s: float = 0.5) -> None:
        self._registry = registry
        self._folder = folder
        self._interval_s = interval_s
        self._failures = registry.counter(PUBLISH_FAILURES)
        self._closing = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Write the first file, into a folder made for it if need be, then go on in the background."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self.flush()
        self._task = asyncio.create_task(self._run(), name="metrics-publisher")

    async def flush(self) -> None:
        """Write the state of this moment. A failure is counted and reported, never raised: serving goes on."""
        try:
            async with self._writing:
                snapshot = self._registry.snapshot()
                # The snapshot is taken on the loop, so that it is consistent; the disk is waited for off it.
                await asyncio.to_thread(write_snapshot, self._folder, self._registry.process, snapshot)
        except Exception:  # noqa: BLE001 - a full disk or a faulty refresher must not end the publishing
            if not self._failures.value:
                _log.exception("Cannot publish metrics to %s; further failures are only counted", self._folder)
            self._failures.add()

    async def close(self) -> None:
        """Stop, after a last flush."""
        self._closing.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        is_last = False
        while not is_last:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._interval_s)
            is_last = self._closing.is_set()
            await self.flush()
