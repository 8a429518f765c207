"""Loads and unloads the guests of a host, one at a time, within its bound. Knows no Ray."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from serving.deployment.failures import describe
from serving.deployment.health_check import Unhealthy
from serving.deployment.hosting.eviction import Residence, ResidenceRules, Why, leaving
from serving.deployment.hosting.guest_server import GuestServer, Loaded
from serving.deployment.hosting.host_files import Guest
from serving.deployment.hosting.host_meters import HostMeters
from serving.deployment.loading import Refused
from serving.protocol.errors import ErrorKind, ServingError
from serving.telemetry.failure_log import FailureLog

#: How often idle guests are looked for, and loaded ones asked whether they are well.
_ROUND_S: Final = 1.0
#: How long a guest that is to go cold may take to answer what it has.
_QUIET_S: Final = 5.0
_log = logging.getLogger(__name__)


class Loader(Protocol):
    """Who brings models into memory."""

    async def load(self, guest: Guest) -> Loaded:
        """Open, load, prove and warm one; raises whatever is wrong with it."""


class GuestCache:
    """The guests of a host, by name, loaded or not."""

    def __init__(self, loader: Loader, rules: ResidenceRules, meters: HostMeters, *, round_s: float = _ROUND_S) -> None:
        self._loader = loader
        self._rules = rules
        self._meters = meters
        self._round_s = round_s
        self._failures = FailureLog(_log, "Looking after the guests")
        self._turn = asyncio.Lock()
        """Held while a guest is loaded or unloaded: one at a time, so that the bound holds."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.guests: dict[str, GuestServer] = {}
        self.unwell = ""
        """Why only a new process helps; empty while none is needed."""

    def start(self) -> None:
        """Begin to look after them."""
        self._own(self._make_rounds())

    async def close(self) -> None:
        """Give all memory back; what still waits is refused."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for guest in self.guests.values():
            guest.dismiss()
            if guest.loaded is not None:
                await guest.loaded.close()

    @property
    def idle(self) -> bool:
        """Everything received is answered."""
        return all(guest.idle for guest in self.guests.values())

    def admit(self, name: str, guest: Guest) -> None:
        """Take a guest in, cold."""
        self.guests[name] = server = GuestServer(guest, self.want)
        server.on_released = self._meters.holds(guest.spec.model, guest.spec.version)

    def want(self, guest: GuestServer) -> None:
        """Have a guest loaded, unless it is."""
        if guest.begin_loading():
            self._own(self._load(guest))

    async def see_off(self, guest: GuestServer, timeout_s: float) -> None:
        """Let one go that has been taken out: answer what it has received, refuse what waits for a load, free it."""
        guest.dismiss()
        async with self._turn:
            if not await guest.unload(timeout_s) and guest.loaded is not None:
                await guest.loaded.close()

    async def _load(self, guest: GuestServer) -> None:
        spec = guest.guest.spec
        async with self._turn:
            started = time.monotonic()
            try:
                await self._make_room()
                loaded = await self._loader.load(guest.guest)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this guest's failure and not its neighbours'
                _log.exception("Cannot load %s version %s", spec.model, spec.version)
                guest.fail(describe(error), final=_is_final(error))
            else:
                guest.take(loaded, time.monotonic() - started)
            self._meters.count_cold_start(spec.model, spec.version, is_loaded=guest.loaded is not None)
            if guest not in self.guests.values():  # it was seen off while it came
                await guest.unload(_QUIET_S)

    async def _make_room(self, *, room_for: int = 1) -> None:
        """Unload who is to leave; the turn is the caller's."""
        leavers = leaving(self._residences(), self._rules, time.monotonic(), room_for=room_for)
        for name, why in leavers.items():
            if guest := self.guests.get(name):  # it may have been taken out while another one was unloaded
                await self._unload(guest, why)

    async def _unload(self, guest: GuestServer, why: Why) -> None:
        try:
            if await guest.unload(_QUIET_S):
                self._meters.count_eviction(why)
            else:
                _log.warning("%s still has requests in flight, and stays loaded", guest.guest.spec.model)
        except Exception:  # noqa: BLE001 - whatever it is, it is not the failure of the one that needs the room
            _log.exception("%s does not end in order", guest.guest.spec.model)

    def _residences(self) -> dict[str, Residence]:
        return {
            name: Residence(guest.last_used, guest.guest.kept)
            for name, guest in self.guests.items()
            if guest.loaded is not None
        }

    async def _make_rounds(self) -> None:
        """Let idle guests go cold, and see whether the others are well."""
        while True:
            await asyncio.sleep(self._round_s)
            with self._failures.guard():
                async with self._turn:
                    await self._make_room(room_for=0)
                for guest in list(self.guests.values()):
                    await self._look_after(guest)

    async def _look_after(self, guest: GuestServer) -> None:
        """Have a guest that no longer answers its example reloaded: by its next request, or if kept after its rest."""
        if guest.loaded is None:
            if guest.guest.kept and guest.state == "cold" and time.monotonic() >= guest.relapses.rests_until:
                self.want(guest)
            return
        try:
            await guest.loaded.check()
        except Exception as error:  # noqa: BLE001 - however the check fails, it is this guest's failure
            reason = f"{guest.guest.spec.model}: {describe(error)}"
            _log.warning("Unhealthy; reloading: %s", reason)
            guest.relapses.count(time.monotonic(), guest.loaded_at)
            async with self._turn:
                if not await guest.unload(_QUIET_S) and isinstance(error, Unhealthy):
                    self.unwell = reason

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_final(error: Exception) -> bool:
    """Tell whether it was the version that failed: what it needs may come back, and so may memory."""
    return isinstance(error, Refused) or (isinstance(error, ServingError) and error.kind is not ErrorKind.UNAVAILABLE)
