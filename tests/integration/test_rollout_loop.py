"""The controller's shell over stores in memory and a real folder of metrics: decisions are kept, then carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.memory.rollout_store import MemoryRolloutStore
from router.adapters.webhook import Webhooks
from router.control.gates import Gates
from router.control.rollout_loop import RolloutLoop
from router.control.standby import Standby
from router.policy.audit import verify_chain
from router.policy.document import parse_policy
from router.policy.plan import Plan
from router.ports import StoreUnavailable, VersionStatus
from router.rollout.phase import Phase
from serving.protocol.errors import ErrorKind, ServingError, not_found
from serving.telemetry import catalog
from serving.telemetry.folder import write_snapshot
from serving.telemetry.instruments import Registry
from tests.rollouts import MODEL, NEW, OLD, at, base_policy, started

pytestmark = pytest.mark.asyncio
PLAN = Plan(steps=(1000, 10_000), min_requests=10, min_time_s=0, checks=(), bake_s=0)


class Loaded:
    """Versions that are ready, or not."""

    def __init__(self) -> None:
        self.states = {OLD: "ready", NEW: "ready"}
        self.retried: set[int] = set()
        self.deleted: set[int] = set()
        self.guests: set[int] = set()
        """Of shared hosts, which load them in their own time."""
        self.asked: list[int] = []
        self.kept: list[int] = []

    def status_of(self, model: str, version: int) -> VersionStatus:
        state = self.states[version]
        return VersionStatus(model, version, state, reason="bad file", retried=version in self.retried)

    def keep_trying(self, model: str, version: int) -> None:
        self.kept.append(version)

    async def ensure_ready(self, model: str, version: int, *, timeout_s: float) -> VersionStatus:
        self.asked.append(version)
        if version in self.deleted:
            raise not_found(f"{model}: the registry has no version {version}")
        self.states[version] = "cold" if version in self.guests else "ready"
        return self.status_of(model, version)


class Aliases:
    """A registry that writes down what it is told, unless it is away."""

    def __init__(self) -> None:
        self.named: list[tuple[str, int]] = []
        self.tagged: list[int] = []
        self.away = False

    async def aliased(self, model: str, alias: str) -> int:
        if self.away:
            raise ServingError(ErrorKind.UNAVAILABLE, "the registry is away")
        return self.named[-1][1] if self.named else OLD

    async def name(self, model: str, alias: str, version: int, tags: Mapping[str, str]) -> None:
        if self.away:
            raise ServingError(ErrorKind.UNAVAILABLE, "the registry is away")
        assert tags["model_shepherd.promoted_by"].startswith("rollout:")
        self.named.append((alias, version))

    async def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        self.tagged.append(version)


class World:
    """A controller with everything around it; time goes by looks."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_700_000_000.0
        self.policies = MemoryPolicyStore()
        self.rollouts = MemoryRolloutStore(self.policies)
        self.versions, self.aliases = Loaded(), Aliases()
        self.metrics = Registry("router-0")
        self.folder = folder
        self.loop = self.controller()

    def controller(self) -> RolloutLoop:
        """Make a controller, or its successor."""
        return RolloutLoop(
            self.rollouts,
            self.policies,
            versions=self.versions,
            registry=self.aliases,
            gates=Gates(Webhooks((), b""), lambda: self.now),
            metrics_dir=self.folder,
            clock=lambda: self.now,
        )

    async def start(self, plan: Plan = PLAN) -> None:
        await self.policies.put(base_policy(), expected_revision=0, actor="ada", reason="first", at=self.now)
        await self.rollouts.put(started(plan))

    async def promote(self) -> None:
        """Carry a rollout so far that the version has all of the traffic."""
        await self.start()
        await self.look(4)
        for _ in range(3):
            self.count("canary", NEW, 50)
            self.count("control", OLD, 50)
            await self.look()

    def count(self, variant: str, version: int, n: int, outcome: str = "ok") -> None:
        labels = {"model": MODEL, "version": str(version), "variant": variant, "protocol": "http", "outcome": outcome}
        self.metrics.counter(catalog.REQUESTS, **labels).add(n)

    async def look(self, times: int = 1) -> Any:
        for _ in range(times):
            write_snapshot(self.folder, "router-0", self.metrics.snapshot())
            await self.loop.look()
            self.now += 1.0
        return await self.rollouts.get(MODEL)

    async def phase(self) -> Phase:
        rollout = await self.rollouts.get(MODEL)
        assert rollout is not None
        return rollout.phase

    async def share(self) -> int:
        stored = await self.policies.get(MODEL)
        assert stored is not None
        return sum(variant.weight for variant in stored.policy.variants if variant.version == NEW)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def drain(world: World) -> None:
    """Let background work of the controller end."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_rollout_is_carried_from_its_start_to_the_registry(world: World) -> None:
    """Each move is a policy revision and an entry of the chain, in the rollout's name."""
    await world.start()
    await world.look(4)
    assert await world.share() == 1000
    for _ in range(3):
        world.count("canary", NEW, 50)
        world.count("control", OLD, 50)
        await world.look()
    for _ in range(6):
        await world.look()
        await drain(world)

    assert await world.phase() is Phase.SUCCEEDED
    assert world.aliases.named == [("champion", NEW)]
    entries = await world.policies.audit()
    assert verify_chain(entries) is None
    assert [
        e.action for e in entries if e.actor == "rollout:r1" and e.action in {"rollout.step", "rollout.promote"}
    ] == [
        "rollout.step",
        "rollout.promote",
    ]


async def test_a_version_that_fails_hard_gives_the_traffic_back(world: World) -> None:
    """Within two looks of the counters, and the registry remembers."""
    await world.start()
    await world.look(4)
    world.count("stable", OLD, 1000)
    await world.look()
    world.count("canary", NEW, 20, "model_failed")
    await world.look(2)
    await drain(world)

    assert await world.share() == 0
    assert await world.phase() in {Phase.ROLLING_BACK, Phase.FAILED}
    await world.look()
    await drain(world)
    assert await world.phase() is Phase.FAILED
    assert world.aliases.tagged == [NEW]


async def test_rows_that_are_not_numbers_count_though_every_answer_was_ok(world: World) -> None:
    """Also when a replica's file is ahead of the routers'."""
    await world.start()
    await world.look(4)
    world.count("canary", NEW, 1)
    await world.look()
    world.metrics.counter(catalog.NONFINITE, model=MODEL, version=str(NEW)).add(20)
    await world.look()
    world.count("canary", NEW, 20)
    await world.look(3)
    assert await world.share() == 0


async def test_a_registry_that_takes_no_word_of_ours_holds_up_no_promotion(world: World) -> None:
    """The rollout ends in its time and says so, as does `problems`; the registry is told when it listens, once."""
    world.aliases.away = True
    await world.promote()
    for _ in range(4):
        await world.look()
        await drain(world)
    rollout = await world.look()
    assert rollout.phase is Phase.SUCCEEDED
    assert rollout.words == f"version {NEW} has taken over, but the registry does not know: the registry is away"
    assert list(world.loop.concerns()) == [f"{MODEL}: {rollout.words}"]

    world.aliases.away = False
    world.loop = world.controller()  # without the pause that the other is in
    for _ in range(4):
        await world.look()
        await drain(world)
    rollout = await world.rollouts.get(MODEL)
    assert rollout is not None
    assert rollout.registry_written
    assert world.aliases.named == [("champion", NEW)]
    assert list(world.loop.concerns()) == []


@pytest.mark.parametrize(("pointed", "named"), [(OLD - 1, True), (NEW + 1, False)])
async def test_an_alias_that_lags_behind_is_no_word_of_somebody_else(world: World, pointed: int, named: bool) -> None:
    """Shares raised by hand move no alias: it may point to a version from long before the one that was replaced."""
    world.aliases.named = [("champion", pointed)]
    world.aliases.away = True
    await world.promote()
    for _ in range(5):
        await world.look()
        await drain(world)
    world.aliases.away = False
    world.loop = world.controller()
    for _ in range(4):
        await world.look()
        await drain(world)
    assert (("champion", NEW) in world.aliases.named) is named


async def test_no_failure_to_tell_the_registry_holds_up_a_promotion(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is no word of the registry's, as when its client finds the disk full."""

    async def breaks(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.aliases, "name", breaks)
    await world.promote()
    for _ in range(5):
        await world.look()
        await drain(world)
    rollout = await world.look()
    assert rollout.phase is Phase.SUCCEEDED
    assert rollout.words.endswith("but the registry does not know: OSError: [Errno 28] No space left on device")
    await world.loop.close()


async def test_the_registry_is_not_told_of_what_was_taken_back_since(world: World) -> None:
    """Nor is an alias overwritten that somebody has moved on."""
    world.aliases.away = True
    await world.promote()
    for _ in range(5):
        await world.look()
        await drain(world)
    stored = await world.policies.get(MODEL)
    assert stored is not None
    await world.policies.put(
        base_policy(), expected_revision=stored.revision, actor="ada", reason="customers complain", at=world.now
    )
    await world.look()
    assert list(world.loop.concerns()) == []  # nor does anybody have to hear of it any more
    world.aliases.away = False
    world.loop = world.controller()
    for _ in range(4):
        await world.look()
        await drain(world)
    assert world.aliases.named == []


async def test_a_rollout_that_cannot_go_on_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is the matter with it is said, and passes when it does."""
    other = parse_policy({"model": "aaa", "variants": [{"name": "stable", "version": OLD, "weight": 10_000}]})
    await world.policies.put(other, expected_revision=0, actor="ada", reason="first", at=world.now)
    await world.rollouts.put(at(started(PLAN, other), id="r2"))
    await world.start()
    status_of = world.versions.status_of

    def breaks(model: str, version: int) -> VersionStatus:
        if model == "aaa":
            raise RuntimeError("odd")
        return status_of(model, version)

    with monkeypatch.context() as broken:
        broken.setattr(world.versions, "status_of", breaks)
        await world.look(4)
        assert await world.share() == 1000
        assert list(world.loop.concerns()) == ["aaa: the rollout of version 4 cannot go on: RuntimeError: odd"]
    await world.look()
    assert list(world.loop.concerns()) == []


async def test_a_successor_goes_on_where_the_record_says(world: World) -> None:
    """A controller that dies after any look is no loss."""
    await world.start()
    for _ in range(20):
        world.count("canary", NEW, 50)
        world.count("control", OLD, 50)
        world.loop = world.controller()
        await world.look()
        await drain(world)
    assert await world.phase() in {Phase.BAKING, Phase.SUCCEEDED}
    assert [each.revision for each in await world.policies.revisions(MODEL)] == [1, 2, 3]


async def test_a_version_that_is_not_loaded_is_loaded_first(world: World) -> None:
    """And one that fails to load ends the rollout before any traffic moved."""
    world.versions.states[NEW] = "absent"
    await world.start()
    await world.look()
    await drain(world)
    assert world.versions.asked == [NEW]
    world.versions.states[NEW] = "failed"
    await world.look()
    assert await world.phase() is Phase.FAILED
    assert len(await world.policies.revisions(MODEL)) == 1


async def test_a_cold_guest_is_asked_for_once_and_seen_as_soon_as_its_host_has_loaded_it(world: World) -> None:
    """It serves, so whoever asks has an answer at once: asking again at each would be a busy loop."""
    world.versions.states[NEW] = "cold"
    world.versions.guests.add(NEW)
    await world.start()
    for _ in range(3):
        await world.look()
        await drain(world)
    assert world.versions.asked == [NEW]
    world.versions.states[NEW] = "ready"
    await world.look(2)
    assert await world.share() == 1000
    await world.loop.close()


async def test_a_version_whose_registry_is_away_is_waited_for(world: World) -> None:
    """It is tried again without being asked for, and kept wanted meanwhile: asking anew would forget the pauses."""
    world.versions.states[NEW] = "failed"
    world.versions.retried.add(NEW)
    await world.start()
    await world.look(3)
    assert await world.phase() is Phase.PENDING
    assert (world.versions.asked, world.versions.kept) == ([], [NEW] * 3)
    world.versions.states[NEW] = "ready"
    await world.look(2)
    assert await world.share() == 1000


async def test_a_version_that_nobody_knows_is_told_of(world: World) -> None:
    """It is asked for again after a pause; meanwhile `problems` says why the rollout waits."""
    world.versions.states[NEW] = "absent"
    world.versions.deleted.add(NEW)
    await world.start()
    for _ in range(3):
        await world.look()
        await drain(world)
    assert world.versions.asked == [NEW]
    assert list(world.loop.concerns()) == [
        f"{MODEL}: the rollout of version {NEW} cannot go on: {MODEL}: the registry has no version {NEW}"
    ]
    world.versions.states[NEW] = "ready"  # somebody else has had it loaded during the pause
    await world.look(2)
    assert await world.share() == 1000
    assert list(world.loop.concerns()) == []
    await world.loop.close()


async def test_a_store_that_goes_away_in_mid_change_leaves_nothing_half_applied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision is kept, the write comes when the store is back, once."""
    await world.start()

    async def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as broken:
        broken.setattr(world.policies, "write", away)
        with pytest.raises(StoreUnavailable):
            await world.look()
    assert await world.phase() is Phase.PROGRESSING
    assert await world.share() == 0
    await world.look(2)
    assert await world.share() == 1000
    assert len(await world.policies.revisions(MODEL)) == 2


async def test_the_versions_of_the_last_good_policy_stay_loaded(world: World) -> None:
    """For as long as they are kept for a rollback, and no longer."""
    await world.start()
    await world.look(3)
    standby = Standby(world.policies, 3600, lambda: world.now)
    assert await standby.versions(await world.policies.snapshot()) == {(MODEL, OLD)}
    world.now += 4000
    assert await standby.versions(await world.policies.snapshot()) == set()
