"""One guest of a shared host: served while it is loaded, its requests held while it comes. Knows no Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from serving.channel.frames import Frame, Kind, frame_head
from serving.channel.server import Connection
from serving.deployment.hosting.host_files import Guest, GuestReport, GuestState
from serving.deployment.hosting.relapses import Relapses
from serving.deployment.loaded_model import LoadedModel
from serving.protocol.errors import ErrorKind, ServingError

#: Requests that may wait for one guest; more are refused as overload.
MAX_HELD: Final = 1024
#: Pauses after loads that failed, in a row, before a request causes another; the last one repeats.
BACKOFF_S: Final = (1.0, 5.0, 15.0, 60.0)


class Loaded(Protocol):
    """A guest's model in memory."""

    model: LoadedModel

    async def check(self) -> None:
        """Raise when the model does not answer its example any more."""

    async def close(self) -> None:
        """Give its memory back."""


class Held(NamedTuple):
    """A request that waits for its model."""

    connection: Connection
    frame: Frame
    arrived: float


class GuestServer:
    """Serves one guest. The host loads and unloads it; `on_wanted` tells the host that a request waits."""

    def __init__(self, guest: Guest, on_wanted: Callable[[GuestServer], None]) -> None:
        self.guest = guest
        self.last_used = self.loaded_at = time.monotonic()
        self.relapses = Relapses()
        self.on_released: Callable[[float], None] = lambda _: None
        """Told how long each held request has waited, in seconds."""
        self._on_wanted = on_wanted
        self._loaded: Loaded | None = None
        self._loading = False
        self._leaving = False
        self._held: list[Held] = []
        self._reason = ""
        self._is_final = False
        self._failures = 0
        self._retry_at = 0.0
        self._load_s = 0.0
        self._facts: dict[str, str | int | float] = {}

    @property
    def loaded(self) -> Loaded | None:
        """Its model, while it is in memory."""
        return self._loaded

    @property
    def state(self) -> GuestState:
        """Where it stands."""
        if self._loaded is not None:
            return "loaded"
        if self._loading:
            return "loading"
        return "failed" if self._reason else "cold"

    @property
    def idle(self) -> bool:
        """Everything received is answered."""
        return not self._held and (self._loaded is None or self._loaded.model.idle)

    def report(self) -> GuestReport:
        """Say how it does."""
        return GuestReport(self.state, self._reason, self._is_final, self._load_s, self._facts)

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        """Take a request, or the news that nobody waits for one any more."""
        if frame.kind == Kind.INFER:
            now = self.last_used = time.monotonic()
            if self._loaded is not None and not self._leaving:
                self._loaded.model.infer(connection, frame, now)
            else:
                self._hold(Held(connection, frame, now))
        elif self._loaded is not None:
            self._loaded.model.on_frame(connection, frame)
        elif frame.kind == Kind.CANCEL:
            self._held = [
                each for each in self._held if each.connection is not connection or each.frame.call_id != frame.call_id
            ]

    def on_lost(self, connection: Connection) -> None:
        """Forget what a router asked for that has gone."""
        self._held = [each for each in self._held if each.connection is not connection]
        if self._loaded is not None:
            self._loaded.model.on_lost(connection)

    def begin_loading(self) -> bool:
        """Claim the load; False when it is loaded, or being loaded, already."""
        if self._loaded is not None or self._loading:
            return False
        self._loading = True
        return True

    def take(self, loaded: Loaded, load_s: float) -> None:
        """It is there: let go what waits."""
        self._loaded, self._loading = loaded, False
        self._reason, self._is_final, self._failures = "", False, 0
        self._load_s, self._facts = load_s, loaded.model.facts
        self.last_used = self.loaded_at = time.monotonic()
        self._release()

    def fail(self, reason: str, *, final: bool) -> None:
        """It could not be loaded: refuse what waits, and what comes before the pause is over."""
        self._loading = False
        self._reason, self._is_final = reason, final
        self._retry_at = time.monotonic() + BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        held, self._held = self._held, []
        for each in held:
            self._refuse(each, ErrorKind.UNAVAILABLE, f"the model cannot be loaded: {reason}")

    async def unload(self, timeout_s: float) -> bool:
        """Go cold once everything received is answered; False, and still loaded, when that takes too long.

        What comes meanwhile is held, and then has the guest loaded again.
        """
        loaded = self._loaded
        if loaded is None or self._leaving:
            return True
        self._leaving = True
        try:
            async with asyncio.timeout(timeout_s):
                while not loaded.model.idle:  # noqa: ASYNC110 - runs and answers may end it
                    await asyncio.sleep(0.005)
        except TimeoutError:
            return False
        else:
            self._loaded = None
            await loaded.close()
            return True
        finally:
            self._leaving = False
            if self._loaded is not None:
                self._release()
            elif self._held:
                self._on_wanted(self)

    def dismiss(self) -> None:
        """Refuse what waits for a model that will not come, so that routers ask elsewhere."""
        held, self._held = self._held, []
        for each in held:
            self._refuse(each, ErrorKind.UNAVAILABLE, "the version is leaving this host")

    def _hold(self, held: Held) -> None:
        if self._reason and held.arrived < self._retry_at:
            self._refuse(held, ErrorKind.UNAVAILABLE, f"the model cannot be loaded: {self._reason}")
        elif len(self._held) >= MAX_HELD:
            self._refuse(held, ErrorKind.OVERLOADED, f"{len(self._held)} requests already wait for the model to load")
        else:
            self._held.append(held)
            if not self._leaving:
                self._on_wanted(self)

    def _release(self) -> None:
        assert self._loaded is not None, "only a loaded guest lets go"
        held, self._held = self._held, []
        now = time.monotonic()
        for each in held:
            self.on_released(now - each.arrived)
            self._loaded.model.infer(each.connection, each.frame, each.arrived)

    @staticmethod
    def _refuse(held: Held, kind: ErrorKind, reason: str) -> None:
        refuse(held.connection, held.frame, ServingError(kind, reason))


def refuse(connection: Connection, frame: Frame, error: ServingError) -> None:
    """Answer a request with an error."""
    if connection.is_open:
        message = error.message.encode()
        connection.send([frame_head(Kind.ERROR, len(message), call_id=frame.call_id, small=error.kind), message])
