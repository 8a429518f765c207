"""Owns the loops of a process that must not end: one that does is logged and begun again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

#: Pauses before a loop is begun again: doubled by each early end, forgotten after a long life.
FIRST_PAUSE_S: Final = 1.0
_LAST_PAUSE_S: Final = 30.0
_LONG_LIFE_S: Final = 60.0
_log = logging.getLogger(__name__)


class Supervisor:
    """Runs loops until it is closed."""

    def __init__(self, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._first_pause_s = first_pause_s
        self._tasks: list[asyncio.Task[None]] = []

    def run(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Begin a loop; `loop` is called again each time that it returns or raises."""
        self._tasks.append(asyncio.create_task(self._keep(name, loop), name=name))

    async def close(self) -> None:
        """Cancel all loops and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        clock = asyncio.get_running_loop().time
        pause_s = self._first_pause_s
        while True:
            begun = clock()
            try:
                await loop()
                _log.error("%s has ended, and is begun again in %g s", name, pause_s)
            except Exception:  # noqa: BLE001 - whatever it is, the process needs the loop
                _log.exception("%s has failed, and is begun again in %g s", name, pause_s)
            if clock() - begun > _LONG_LIFE_S:
                pause_s = self._first_pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)
