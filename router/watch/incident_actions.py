"""Has each transition of an incident acted on, at least once and in order, by acts that bear to be repeated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from router.adapters.redis.incidents import RedisIncidents
from router.cancellation import end_if_cancelled
from router.monitor.incident import Transition
from router.ports import StoreUnavailable

Act = Callable[[Transition], Awaitable[None]]
_BLOCK_MS: Final = 2000
_RETRY_S: Final = 1.0
#: Acts under way at once; transitions beyond wait in the stream.
_MOST: Final = 64
_log = logging.getLogger(__name__)


class IncidentActions:
    """One kind of act: it follows the stream of transitions in its own time, so that no act waits for another kind.

    Transitions of one incident are acted on one after the other; those of different incidents do not wait for each
    other. Each is acknowledged when its act is done, so a successor repeats only what was under way.
    """

    def __init__(self, incidents: RedisIncidents, group: str, act: Act) -> None:
        self.group = group
        self._incidents = incidents
        self._act = act
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._latest: dict[str, asyncio.Task[None]] = {}
        """By incident: the last task that was begun."""

    async def run(self) -> None:
        """Go on until cancelled."""
        try:
            while True:
                try:
                    await self._follow()
                except StoreUnavailable as error:
                    end_if_cancelled()
                    _log.warning("Incident actions (%s) are waiting: %s", self.group, error)
                    await asyncio.sleep(_RETRY_S)
        finally:
            for task in self._under_way.values():
                task.cancel()

    async def _follow(self) -> None:
        """Take up what was begun before, then what comes."""
        after = "0"
        while entries := await self._incidents.unacknowledged(self.group, after):
            after = entries[-1][0]
            await self._start(entries)
        while True:
            end_if_cancelled()
            await self._start(await self._incidents.wait(self.group, _BLOCK_MS))

    async def _start(self, entries: Sequence[tuple[str, Transition]]) -> None:
        for entry, transition in entries:
            if entry in self._under_way:
                continue
            while len(self._under_way) >= _MOST:
                await asyncio.wait(self._under_way.values(), return_when=asyncio.FIRST_COMPLETED)
            incident = transition.incident.id
            doing = self._do(entry, transition, self._latest.get(incident))
            self._under_way[entry] = self._latest[incident] = asyncio.create_task(
                doing, name=f"{self.group}-{transition.id}"
            )

    async def _do(self, entry: str, transition: Transition, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await asyncio.wait([before])
            await _retry_until_done(lambda: self._act(transition))
            await _retry_until_done(lambda: self._incidents.done(self.group, entry))
        except Exception:  # noqa: BLE001 - it stays unacknowledged, and is tried again by the next run
            _log.exception(
                "%s of incident %s (%s) failed; it is tried again at the next start",
                transition.act,
                transition.incident.id,
                self.group,
            )
        finally:
            task = self._under_way.pop(entry, None)
            if self._latest.get(transition.incident.id) is task:
                del self._latest[transition.incident.id]


async def _retry_until_done(act: Callable[[], Awaitable[None]]) -> None:
    """Do something that needs Redis, however long that is away."""
    while True:
        try:
            await act()
        except StoreUnavailable:
            await asyncio.sleep(_RETRY_S)
        else:
            return
