"""Brings model versions to life and away again: the shell around the reconciler; fits `VersionManager`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from router.cancellation import end_if_cancelled
from router.control.catalogue import VersionSource
from router.control.fleet import Fleet
from router.control.reconciler import (
    LoadState,
    Phase,
    VersionKey,
    asked,
    crashed,
    dropped,
    failed,
    named,
    observed,
    plan,
    started,
    stopping,
)
from router.control.replicas import Replicas
from router.control.specs import SpecMaker
from router.control.version_holders import VersionHolders
from router.control.version_view import VersionViews
from router.ports import (
    PolicySnapshot,
    StoreUnavailable,
    VersionBoard,
    VersionInUse,
    VersionStatus,
    VersionUnready,
)
from serving.deployment.status import AppPhase, AppStatus
from serving.protocol.errors import ErrorKind, ServingError

_BUSY_PERIOD_S: Final = 0.2
_IDLE_PERIOD_S: Final = 1.0
_log = logging.getLogger(__name__)


class Versions:
    """Keeps the versions that policies name, and those that somebody asks for, loaded."""

    def __init__(
        self,
        fleet: Fleet,
        catalogue: VersionSource,
        board: VersionBoard,
        make_spec: SpecMaker,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._catalogue = catalogue
        self._board = board
        self._make_spec = make_spec
        self._clock = clock
        self._states: dict[VersionKey, LoadState] = {}
        self._starting: dict[VersionKey, asyncio.Task[None]] = {}
        self._version_holders = VersionHolders()
        self._replicas = Replicas(fleet, self._on_replicas)
        self._version_views = VersionViews(catalogue, make_spec)
        self._published: Sequence[VersionStatus] | None = None
        self._wake = asyncio.Event()
        self._changed = asyncio.Condition()

    def follow(self, policies: PolicySnapshot) -> None:
        """Learn which versions the policies name."""
        self._version_holders.follow(policies)
        self._fleet.keep(self._version_holders.compared)
        self._wake.set()

    def keep(self, standby: frozenset[VersionKey]) -> None:
        """Learn which further versions to keep loaded, as long as they are: those that a rollback would need."""
        self._version_holders.keep(standby)

    async def run(self) -> None:
        """Reconcile until cancelled; a turn that fails is reported and the next one tries again."""
        while True:
            end_if_cancelled()
            try:
                await self._turn()
            except Exception:  # noqa: BLE001 - a reconciler that ends reconciles nothing
                _log.exception("A turn of the reconciler failed")
            now = self._clock()
            is_idle = all(state.is_settled(now) for state in self._states.values())
            try:
                async with asyncio.timeout(_IDLE_PERIOD_S if is_idle else _BUSY_PERIOD_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def close(self) -> None:
        """Let go; the applications stay."""
        for task in self._starting.values():
            task.cancel()
        await asyncio.gather(*self._starting.values(), return_exceptions=True)
        await self._replicas.close()

    def current(self) -> list[VersionStatus]:
        """List the versions that this gateway deals with."""
        return [self._status(key) for key in sorted(self._states)]

    def status_of(self, model: str, version: int) -> VersionStatus:
        """Say where a version stands; `absent` when this gateway does not deal with it."""
        return self._status((model, version))

    def keep_trying(self, model: str, version: int) -> None:
        """Want a version that will be tried again for as long as if a policy named it now."""
        key = (model, version)
        if key in self._states:
            self._states[key] = named(self._states[key], self._clock())

    async def versions(self) -> Sequence[VersionStatus]:
        """List every version that the registry or the gateway knows; the gateway's own while the registry is away."""
        statuses = {(status.model, status.version): status for status in self.current()}
        try:
            registered = await self._catalogue.versions()
        except ServingError as error:
            _log.warning("Listing only what is loaded: %s", error)
            registered = ()
        for info in registered:
            key = (info.model, info.version)
            statuses.setdefault(key, VersionStatus(*key, state=Phase.ABSENT.value))
        return [statuses[key] for key in sorted(statuses)]

    async def ensure_ready(self, model: str, version: int, *, timeout_s: float) -> VersionStatus:
        """Load a version unless it is, and wait until it is ready; else `VersionUnready`.

        A version that the registry does not have raises `ServingError(NOT_FOUND)`.
        """
        key = (model, version)
        if self._states.get(key, LoadState()).phase is not Phase.READY:
            await self._catalogue.resolve(model, version)
        self._states[key] = asked(self._states.get(key, LoadState()), self._clock())
        self._version_holders.recall(key)
        self._fleet.ask_for(model, version)
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._is_settled(key))
        except TimeoutError:
            status = self._status(key)
            reason = f"not ready within {timeout_s:g} s, still {status.state}"
            raise VersionUnready(msgspec.structs.replace(status, reason=status.reason or reason)) from None
        status = self._status(key)
        if status.state == Phase.ABSENT:
            raise VersionUnready(msgspec.structs.replace(status, reason="it was unloaded meanwhile"))
        if not status.serves:
            raise VersionUnready(status)
        return status

    async def unload(self, model: str, version: int, *, timeout_s: float) -> VersionStatus:
        """Drain and free a version that no policy names; return where it stands, still draining after `timeout_s`.

        It goes although a rollback might want it: that would load it again. Raises `VersionInUse`; `ServingError`
        NOT_FOUND for a version that neither gateway nor registry has, UNAVAILABLE before the policies are known.
        """
        key = (model, version)
        if not self._version_holders.known:
            raise ServingError(ErrorKind.UNAVAILABLE, "the policies have not been read yet; try again")
        if self._version_holders.is_named(key):
            raise VersionInUse(model, version)
        if key not in self._states:
            await self._catalogue.resolve(model, version)
            return self._status(key)
        self._states[key] = dropped(self._states[key])
        self._version_holders.drop(key)
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: key not in self._states)
        return self._status(key)

    async def register(self, name: str, onnx: bytes, *, example: bytes | None, tags: Mapping[str, str]) -> int:
        """Add a version to the registry with its golden example; return its number."""
        return await self._catalogue.register(name, onnx, example=example, tags=tags)

    async def _turn(self) -> None:
        """Look, decide, act, tell."""
        being_started = set(self._starting)  # what is looked up while an attempt is being handed over is out of date
        apps = await self._fleet.statuses()
        now = self._clock()
        self._observe(apps, being_started | set(self._starting), now)
        leaving = {key for key, app in apps.items() if app.phase is AppPhase.DELETING}
        running = apps.keys() - leaving
        self._version_views.learn({key: apps[key] for key in running})
        self._replicas.follow(running)
        if self._version_holders.known:
            todo = plan(self._states, running, now, leaving)
            for key in todo.start:
                self._states[key] = started(self._states[key])
                self._starting[key] = asyncio.create_task(self._start(key), name=f"start-{key[0]}-{key[1]}")
            if todo.stop:
                for key in todo.stop:
                    self._states[key] = stopping(self._states[key])
                await self._publish()  # routers first: they stop calling it, and wait for what it still owes them
                await self._fleet.delete(todo.stop)
        await self._publish()
        async with self._changed:
            self._changed.notify_all()

    def _observe(self, apps: Mapping[VersionKey, AppStatus], skip: set[VersionKey], now: float) -> None:
        for key in self._version_holders.wanted(self._states):
            self._states[key] = named(self._states.get(key, LoadState()), now)
        for key in apps.keys() | self._states.keys():
            # An application that we have never heard of was started before us: keep it as if it had just been named.
            state = self._states.get(key) or named(LoadState(), now)
            self._states[key] = state if key in skip else observed(state, apps.get(key), now)
        for key, state in list(self._states.items()):
            if state.wanted_until <= now and (state.phase is Phase.ABSENT or self._is_forgotten(key, apps)):
                del self._states[key]
                self._version_holders.recall(key)

    def _is_forgotten(self, key: VersionKey, apps: Mapping[VersionKey, AppStatus]) -> bool:
        """A version that failed is listed with the reason until somebody unloads it."""
        state = self._states[key]
        is_idle = state.phase is Phase.FAILED and not state.attempting
        return self._version_holders.is_dropped(key) and is_idle and key not in apps

    def _is_settled(self, key: VersionKey) -> bool:
        state = self._states.get(key)
        return state is None or state.is_settled(self._clock())

    async def _start(self, key: VersionKey) -> None:
        """Fetch a version's files and hand it to the fleet."""
        try:
            info = await self._catalogue.fetch(*key)
            await self._fleet.deploy([self._make_spec(info)])
        except ServingError as error:
            away = error.kind is ErrorKind.UNAVAILABLE
            self._states[key] = failed(self._states[key], error.message, self._clock(), final=not away, patient=away)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this version's failure and not the end of the others
            _log.exception("Starting %s version %s failed", *key)
            reason = f"{type(error).__name__}: {error}"
            self._states[key] = failed(self._states[key], reason, self._clock(), final=False)
        finally:
            del self._starting[key]
            self._wake.set()

    def _on_replicas(self, key: VersionKey, crashes: int) -> None:
        if crashes and key in self._states:
            self._states[key] = crashed(self._states[key], crashes, self._clock())
        self._wake.set()

    async def _publish(self) -> None:
        statuses = self.current()
        if statuses == self._published:
            return
        try:
            await self._board.publish(statuses)
            self._published = statuses
        except StoreUnavailable as error:
            _log.warning("%s; trying again", error)

    def _status(self, key: VersionKey) -> VersionStatus:
        state = self._states.get(key, LoadState())
        return self._version_views.draw(key, state, self._replicas.of(key), self._holders(key))

    def _holders(self, key: VersionKey) -> tuple[str, ...]:
        state = self._states.get(key)
        if state is None:
            return ()
        is_lingering = state.wanted_until > self._clock()
        return self._version_holders.holders(key) or (("lingering",) if is_lingering else ())
