"""Guests that come and go while others are loaded and unloaded."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from serving.backends.echo import EchoBackend
from serving.deployment.hosting.eviction import ResidenceRules
from serving.deployment.hosting.guest_cache import GuestCache
from serving.deployment.hosting.guest_server import GuestServer
from serving.deployment.hosting.host_files import Guest
from serving.deployment.hosting.host_meters import HostMeters
from serving.deployment.loaded_model import LoadedModel
from serving.protocol.messages import Signature
from serving.telemetry.instruments import Registry
from tests.hosts import version_spec

pytestmark = pytest.mark.asyncio

NEVER_S = 1000.0


class Held:
    """A model in memory, whose end can be held up, and which can be unwell."""

    def __init__(self) -> None:
        self.model = LoadedModel(EchoBackend())
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.is_closing = asyncio.Event()
        self.failure: Exception | None = None
        self.checks = 0

    async def check(self) -> None:
        self.checks += 1
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        self.is_closing.set()
        await self.may_close.wait()
        await self.model.close()


class Bench:
    """A cache of guests whose models the test holds."""

    def __init__(self, folder: Path, rules: ResidenceRules) -> None:
        self._folder = folder
        self.models: dict[str, Held] = {}
        self.loads: Counter[str] = Counter()
        self.ailments: dict[str, Exception] = {}
        """What is wrong, by name, with every model that is loaded."""
        meters = HostMeters(Registry("host"))
        self.cache = GuestCache(self, rules, meters, round_s=0.01)

    async def load(self, guest: Guest) -> Held:
        name = guest.spec.model
        held = self.models[name] = Held()
        held.failure = self.ailments.get(name)
        self.loads[name] += 1
        return held

    async def bring(self, name: str, *, kept: bool = False) -> GuestServer:
        """Let a guest in, and have it loaded."""
        self.cache.admit(name, Guest(version_spec(self._folder, name, 1, {}), 1, Signature((), ()), kept))
        guest = self.cache.guests[name]
        self.cache.want(guest)
        await until(lambda: guest.state == "loaded")
        return guest

    def ages(self, name: str) -> None:
        """Let a guest not have been asked for long; the rules unload it."""
        self.cache.guests[name].last_used -= 2 * NEVER_S


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def caching(folder: Path, *, max_loaded: int = 8) -> AsyncIterator[Bench]:
    bench = Bench(folder, ResidenceRules(max_loaded, NEVER_S))
    bench.cache.start()
    yield bench
    for held in bench.models.values():
        held.may_close.set()
    await bench.cache.close()


async def test_a_guest_that_leaves_while_another_is_unloaded_does_not_end_the_rounds(tmp_path: Path) -> None:
    """Both were to go cold in one round; the next round goes on with the others."""
    async with caching(tmp_path) as bench:
        for name in ("a", "b", "c"):
            await bench.bring(name)
        first = bench.models["a"]
        first.may_close.clear()
        bench.ages("b")
        bench.ages("a")
        bench.cache.guests["a"].last_used -= 1.0  # the older one goes first
        await first.is_closing.wait()
        del bench.cache.guests["b"]
        first.may_close.set()

        bench.ages("c")
        await until(lambda: bench.cache.guests["c"].state == "cold")


async def test_a_guest_that_leaves_while_room_is_made_does_not_hold_up_the_one_that_comes(tmp_path: Path) -> None:
    """Two have to make room; one of them leaves before its turn."""
    async with caching(tmp_path, max_loaded=3) as bench:
        for name in ("a", "b", "c"):
            await bench.bring(name)
        bench.cache._rules = msgspec.structs.replace(bench.cache._rules, max_loaded=2)
        first = bench.models["a"]
        first.may_close.clear()
        coming = asyncio.create_task(bench.bring("d"))
        await first.is_closing.wait()
        del bench.cache.guests["b"]
        first.may_close.set()
        await coming


async def test_a_check_that_breaks_has_its_guest_loaded_anew_and_the_others_looked_after(tmp_path: Path) -> None:
    """Whatever a runtime raises is the failure of one guest; a kept one is back without a request."""
    async with caching(tmp_path) as bench:
        broken = await bench.bring("a", kept=True)
        await bench.bring("b")
        before = bench.models["a"]
        before.failure = RuntimeError("the session is gone")
        await until(lambda: bench.models["a"] is not before and broken.state == "loaded")
        bench.ages("b")
        await until(lambda: bench.cache.guests["b"].state == "cold")


async def test_a_kept_guest_that_is_never_well_is_not_loaded_again_in_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once after its first failed check, then after pauses; whoever asks for it still gets it at once."""
    monkeypatch.setattr("serving.deployment.hosting.relapses.pause_s", lambda failures: math.inf if failures else 0.0)
    async with caching(tmp_path) as bench:
        bench.ailments["a"] = TimeoutError()
        ill = await bench.bring("a", kept=True)
        await bench.bring("b")
        await until(lambda: bench.loads["a"] == 2 and ill.state == "cold")
        rounds = bench.models["b"].checks + 20
        await until(lambda: bench.models["b"].checks > rounds)
        assert bench.loads["a"] == 2

        bench.cache.want(ill)
        await until(lambda: bench.loads["a"] == 3)


async def test_a_model_that_does_not_end_in_order_fails_nobody_elses_load(tmp_path: Path) -> None:
    """The guest that needs the room is loaded."""

    async def fail() -> None:
        raise RuntimeError("close failed")

    async with caching(tmp_path, max_loaded=1) as bench:
        await bench.bring("a")
        bench.models["a"].close = fail  # type: ignore[method-assign]
        await bench.bring("b")
        assert bench.cache.guests["a"].state == "cold"
