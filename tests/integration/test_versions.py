"""The reconciler at work on a fleet in memory: what operators and routers see of versions that come, fail and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from router.control.reconciler import VersionKey
from router.control.versions import Versions
from router.policy.document import parse_policy
from router.ports import PolicySnapshot, StoredPolicy, StoreUnavailable, VersionInUse, VersionStatus, VersionUnready
from serving.channel.endpoint import Endpoint
from serving.deployment.spec import VersionSpec
from serving.deployment.status import AppPhase, AppStatus
from serving.protocol.errors import ErrorKind, ServingError, not_found
from serving.protocol.messages import Signature
from serving.registry.artifact import VersionInfo
from tests.waiting import until

pytestmark = pytest.mark.asyncio

FAILED = AppStatus(AppPhase.FAILED, "golden check failed: output 'y' differs", final=True)
READY = AppStatus(AppPhase.READY)


class Closed:
    async def close(self) -> None:
        """Nothing to close."""


class MemoryFleet:
    """Applications that become what `outcomes` says as soon as they are deployed."""

    def __init__(self) -> None:
        self.apps: dict[VersionKey, AppStatus] = {}
        self.outcomes: dict[VersionKey, AppStatus] = {}
        self.deployed: list[VersionKey] = []

    async def deploy(self, specs: Sequence[VersionSpec]) -> None:
        for spec in specs:
            key = (spec.model, spec.version)
            self.deployed.append(key)
            self.apps[key] = self.outcomes.get(key, READY)

    async def delete(self, versions: Iterable[VersionKey]) -> None:
        for key in versions:
            del self.apps[key]

    def keep(self, versions: frozenset[VersionKey]) -> None:
        """Nothing here goes cold."""

    def ask_for(self, model: str, version: int) -> None:
        """Nothing here is cold."""

    async def statuses(self) -> Mapping[VersionKey, AppStatus]:
        return dict(self.apps)

    def watch(self, model: str, version: int, on_endpoints: Callable[[Sequence[Endpoint]], None]) -> Closed:
        name = f"{model}-{version}"
        on_endpoints([Endpoint(name, "/run/x.sock", "node", 4242, Signature((), ()), 8, load_s=0.5)])
        return Closed()


class MemoryCatalogue:
    """A registry with versions 1 to 3 of one model, that can be away."""

    def __init__(self) -> None:
        self.away = False

    async def resolve(self, model: str, version: int) -> VersionInfo:
        if self.away:
            raise ServingError(ErrorKind.UNAVAILABLE, "the registry is away")
        if model != "flights" or version not in {1, 2, 3}:
            raise not_found(f"model '{model}' has no version {version}")
        return VersionInfo(model, version)

    async def fetch(self, model: str, version: int) -> VersionInfo:
        return await self.resolve(model, version)

    async def register(self, name: str, onnx: bytes, *, example: bytes | None, tags: Mapping[str, str]) -> int:
        raise NotImplementedError

    async def versions(self) -> Sequence[VersionInfo]:
        return [await self.resolve("flights", number) for number in (1, 2, 3)]

    def remembered(self, model: str, version: int) -> None:
        """Nothing is in the cache."""


class MemoryBoard:
    def __init__(self) -> None:
        self.shown: Sequence[VersionStatus] = ()
        self.history: list[Sequence[VersionStatus]] = []
        self.away = False

    async def publish(self, statuses: Sequence[VersionStatus]) -> None:
        if self.away:
            raise StoreUnavailable("Redis is away")
        self.shown = list(statuses)
        self.history.append(self.shown)

    def states(self, version: int) -> list[str]:
        """List all states of a version that were ever shown."""
        return [status.state for shown in self.history for status in shown if status.version == version]

    async def read(self) -> Sequence[VersionStatus]:
        return self.shown

    def watch(self) -> AsyncIterator[Sequence[VersionStatus]]:
        raise NotImplementedError


def make_spec(info: VersionInfo) -> VersionSpec:
    here = Path("/nowhere")
    return VersionSpec(
        model=info.model,
        version=info.version,
        state_dir=here,
        registry_uri=None,
        run_dir=here,
        metrics_dir=here,
        logs_dir=here,
        cache_max_bytes=1 << 30,
    )


class Bench:
    def __init__(self) -> None:
        self.fleet, self.catalogue, self.board = MemoryFleet(), MemoryCatalogue(), MemoryBoard()
        self.now = 1000.0
        self.versions = Versions(self.fleet, self.catalogue, self.board, make_spec, clock=lambda: self.now)

    def name(self, *versions: int) -> None:
        """Let the only policy name these versions."""
        variants = [{"name": f"v{v}", "version": v, "weight": 0 if i else 10_000} for i, v in enumerate(versions)]
        policy = parse_policy({"model": "flights", "variants": variants}) if versions else None
        stored = {"flights": StoredPolicy(policy, 1, "test", "", 0.0)} if policy else {}
        self.versions.follow(PolicySnapshot(1, stored))

    def shown(self, version: int) -> VersionStatus | None:
        return next((status for status in self.board.shown if status.version == version), None)


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    bench = Bench()
    task = asyncio.create_task(bench.versions.run())
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bench.versions.close()


async def test_versions_that_a_policy_names_are_brought_up_and_shown_with_their_replicas() -> None:
    """State, process and load time reach the board that routers read."""
    async with running() as bench:
        bench.name(1, 2)
        await until(lambda: all(s.state == "ready" for s in bench.board.shown) and len(bench.board.shown) == 2)
        shown = bench.shown(1)
        assert shown is not None
        assert (shown.replicas[0].pid, shown.load_s) == (4242, 0.5)


async def test_asking_for_a_version_waits_until_it_is_ready() -> None:
    """And loads it once, however many ask."""
    async with running() as bench:
        bench.name()
        statuses = await asyncio.gather(*(bench.versions.ensure_ready("flights", 3, timeout_s=10) for _ in range(5)))
        assert {status.state for status in statuses} == {"ready"}
        assert bench.fleet.deployed == [("flights", 3)]


async def test_asking_for_a_version_that_fails_says_why() -> None:
    """With the reason that the replica gave, also on the board."""
    async with running() as bench:
        bench.name()
        bench.fleet.outcomes["flights", 2] = FAILED
        with pytest.raises(VersionUnready) as refused:
            await bench.versions.ensure_ready("flights", 2, timeout_s=10)
        assert refused.value.status.reason == FAILED.reason
        await until(lambda: (shown := bench.shown(2)) is not None and shown.state == "failed")


async def test_asking_again_after_the_cause_is_mended_loads_the_version() -> None:
    """A failure is not held against a version for ever."""
    async with running() as bench:
        bench.name()
        bench.fleet.outcomes["flights", 2] = FAILED
        with pytest.raises(VersionUnready):
            await bench.versions.ensure_ready("flights", 2, timeout_s=10)
        del bench.fleet.outcomes["flights", 2]
        assert (await bench.versions.ensure_ready("flights", 2, timeout_s=10)).state == "ready"


async def test_asking_for_a_version_that_does_not_exist_is_refused_at_once() -> None:
    """By the registry."""
    async with running() as bench:
        bench.name()
        with pytest.raises(ServingError, match="no version 9"):
            await bench.versions.ensure_ready("flights", 9, timeout_s=10)
        assert bench.fleet.deployed == []


async def test_asking_for_a_version_that_takes_too_long_says_where_it_stands() -> None:
    """The wait ends with the timeout, the loading does not."""
    async with running() as bench:
        bench.name()
        bench.fleet.outcomes["flights", 1] = AppStatus(AppPhase.LOADING)
        with pytest.raises(VersionUnready) as refused:
            await bench.versions.ensure_ready("flights", 1, timeout_s=0.5)
        assert refused.value.status.reason == "not ready within 0.5 s, still loading"
        bench.fleet.apps["flights", 1] = READY
        await until(lambda: (shown := bench.shown(1)) is not None and shown.state == "ready")


async def test_a_version_that_is_ready_needs_no_registry() -> None:
    """Policies can be changed among loaded versions while the registry is away; what is listed is what is loaded."""
    async with running() as bench:
        bench.name(1)
        await bench.versions.ensure_ready("flights", 1, timeout_s=10)
        bench.catalogue.away = True
        assert (await bench.versions.ensure_ready("flights", 1, timeout_s=10)).state == "ready"
        assert [status.version for status in await bench.versions.versions()] == [1]


async def test_a_version_that_could_not_be_fetched_comes_when_the_registry_is_back() -> None:
    """It is shown as failed with the reason meanwhile, and retried after a pause."""
    async with running() as bench:
        bench.catalogue.away = True
        bench.name(1)
        await until(lambda: (shown := bench.shown(1)) is not None and shown.reason == "the registry is away")
        bench.catalogue.away = False
        bench.now += 60
        bench.name(1)
        await until(lambda: (shown := bench.shown(1)) is not None and shown.state == "ready")


async def test_a_successor_adopts_what_runs_and_stops_nothing_before_it_knows_the_policies() -> None:
    """Killed control, or Redis away at its start: traffic must not notice."""
    async with running() as bench:
        bench.fleet.apps["flights", 1] = READY
        await until(lambda: bench.shown(1) is not None)
        bench.now += 10_000
        await until(lambda: bench.shown(1) is not None)
        assert ("flights", 1) in bench.fleet.apps
        assert bench.fleet.deployed == []


async def test_a_version_that_nothing_names_any_more_is_stopped_after_its_time() -> None:
    """Once the policies are known, and not before it has lingered."""
    async with running() as bench:
        bench.name(1, 2)
        await until(lambda: len(bench.fleet.apps) == 2)
        bench.name(1)
        await until(lambda: bench.shown(2) is not None)
        bench.now += 601
        bench.name(1)
        await until(lambda: ("flights", 2) not in bench.fleet.apps)
        assert ("flights", 1) in bench.fleet.apps


async def test_a_version_is_unloaded_by_wish_and_can_be_asked_for_again() -> None:
    """Routers hear that it drains before it goes, and a rollback's wish to keep it is overruled until it is named."""
    async with running() as bench:
        bench.name(1)
        loaded = await bench.versions.ensure_ready("flights", 2, timeout_s=10)
        assert loaded.holders == ("lingering",)
        bench.versions.keep(frozenset({("flights", 2)}))
        status = await bench.versions.unload("flights", 2, timeout_s=10)
        assert (status.state, status.holders) == ("absent", ())
        assert ("flights", 2) not in bench.fleet.apps
        assert "draining" in bench.board.states(2)
        assert (await bench.versions.ensure_ready("flights", 2, timeout_s=10)).state == "ready"


async def test_a_version_that_a_policy_names_is_not_unloaded() -> None:
    """It stays as it was; one that is not loaded is unloaded already, and one that does not exist is unknown."""
    async with running() as bench:
        bench.name(1)
        await bench.versions.ensure_ready("flights", 1, timeout_s=10)
        with pytest.raises(VersionInUse):
            await bench.versions.unload("flights", 1, timeout_s=10)
        assert ("flights", 1) in bench.fleet.apps
        assert (await bench.versions.unload("flights", 3, timeout_s=10)).state == "absent"
        with pytest.raises(ServingError, match="no version 9"):
            await bench.versions.unload("flights", 9, timeout_s=10)


async def test_unloading_a_version_that_failed_forgets_the_failure() -> None:
    """Its application goes with it."""
    async with running() as bench:
        bench.name()
        bench.fleet.outcomes["flights", 2] = FAILED
        with pytest.raises(VersionUnready):
            await bench.versions.ensure_ready("flights", 2, timeout_s=10)
        assert (await bench.versions.unload("flights", 2, timeout_s=10)).state == "absent"
        assert bench.fleet.apps == {}


async def test_who_waits_for_a_version_that_is_unloaded_meanwhile_is_told() -> None:
    """Whoever wishes last has it."""
    async with running() as bench:
        bench.name()
        bench.fleet.outcomes["flights", 2] = AppStatus(AppPhase.LOADING)
        waiting = asyncio.create_task(bench.versions.ensure_ready("flights", 2, timeout_s=10))
        await until(lambda: ("flights", 2) in bench.fleet.apps)
        await bench.versions.unload("flights", 2, timeout_s=10)
        with pytest.raises(VersionUnready) as refused:
            await waiting
        assert refused.value.status.reason == "it was unloaded meanwhile"


async def test_the_board_catches_up_when_the_store_is_back() -> None:
    """A failed publication is repeated."""
    async with running() as bench:
        bench.board.away = True
        bench.name(1)
        await until(lambda: ("flights", 1) in bench.fleet.apps)
        bench.board.away = False
        await until(lambda: (shown := bench.shown(1)) is not None and shown.state == "ready")


async def test_all_versions_of_the_registry_are_listed_the_idle_ones_as_absent() -> None:
    """What could be loaded, beside what is."""
    async with running() as bench:
        bench.name(2)
        await bench.versions.ensure_ready("flights", 2, timeout_s=10)
        listed = {status.version: status.state for status in await bench.versions.versions()}
        assert listed == {1: "absent", 2: "ready", 3: "absent"}
