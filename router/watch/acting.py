"""Has each transition of an incident acted on, at least once, by acts that bear to be repeated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from router.adapters.redis_incidents import RedisIncidents
from router.monitor.incident import Transition
from router.ports import StoreUnavailable
from router.watch.cancelling import end_if_cancelled

Act = Callable[[Transition], Awaitable[None]]
_BLOCK_MS: Final = 2000
_RETRY_S: Final = 1.0
_log = logging.getLogger(__name__)


class Acting:
    """One kind of act: it follows the stream of transitions in its own time, so that no act waits for another."""

    def __init__(self, incidents: RedisIncidents, group: str, act: Act) -> None:
        self._incidents = incidents
        self._group = group
        self._act = act
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Go on until cancelled."""
        try:
            while True:
                try:
                    self._start(await self._incidents.unacknowledged(self._group))
                    while True:
                        end_if_cancelled()
                        self._start(await self._incidents.wait(self._group, _BLOCK_MS))
                except StoreUnavailable as error:
                    end_if_cancelled()
                    _log.warning("%s waits: %s", self._group, error)
                    await asyncio.sleep(_RETRY_S)
        finally:
            for task in self._under_way.values():
                task.cancel()

    def _start(self, entries: list[tuple[str, Transition]]) -> None:
        for entry, transition in entries:
            if entry not in self._under_way:
                name = f"{self._group}-{transition.id}"
                self._under_way[entry] = asyncio.create_task(self._do(entry, transition), name=name)

    async def _do(self, entry: str, transition: Transition) -> None:
        try:
            while True:
                try:
                    await self._act(transition)
                    await self._incidents.done(self._group, entry)
                except StoreUnavailable:
                    await asyncio.sleep(_RETRY_S)
                else:
                    return
        except Exception:  # noqa: BLE001 - it stays unacknowledged, and is tried again by the next run
            _log.exception("%s of incident %s failed", self._group, transition.incident.id)
        finally:
            self._under_way.pop(entry, None)
