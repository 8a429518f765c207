"""Writes this router's shadow reports to disk, each second that something was compared, and once more at the end."""

from __future__ import annotations

import asyncio
import logging

from router.adapters.files.shadow_folder import Reports, ShadowFolder
from router.analysis.shadow_report import ShadowReport
from router.gateway.shadow.comparing import Comparer, VersionKey

INTERVAL_S = 1.0
_log = logging.getLogger(__name__)


class ShadowReporting:
    """Owns the task that publishes. A router that is killed loses at most the last second of comparisons."""

    def __init__(self, comparer: Comparer, folder: ShadowFolder, router: str) -> None:
        self._comparer = comparer
        self._folder = folder
        self._router = router
        self._written: dict[VersionKey, ShadowReport] = {}
        self._task: asyncio.Task[None] | None = None
        self._failed = False

    def start(self) -> None:
        """Publish in the background."""
        self._task = asyncio.create_task(self._run(), name="shadow-reporting")

    async def flush(self) -> None:
        """Write what has changed. A failure is reported once, never raised: serving goes on."""
        reports = dict(self._comparer.reports)
        if reports == self._written:
            return
        by_model: Reports = {}
        for (model, version), report in reports.items():
            by_model.setdefault(model, {})[version] = report
        try:
            await asyncio.to_thread(self._folder.write, self._router, by_model)
        except OSError as error:
            if not self._failed:
                _log.warning("Cannot publish shadow reports: %s", error)
            self._failed = True
        else:
            self._written, self._failed = reports, False

    async def close(self) -> None:
        """Stop, after a last flush."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._comparer.close()
        await self.flush()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.flush()
