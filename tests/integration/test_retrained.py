"""The loop closes: versions that were trained for an incident are rolled out by themselves, once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.memory.rollout_store import MemoryRolloutStore
from router.control.retrained import Retrained
from router.monitor.incident import Incident
from router.policy.actors import RETRAINING
from router.policy.document import parse_policy
from router.policy.plan import ShadowStage
from router.rollout.phase import Phase
from router.rollout.rollout import Rollout
from serving.protocol.errors import ErrorKind, ServingError, not_found
from serving.registry.artifact import VersionInfo
from tests.rollouts import EPOCH_S, MODEL, NEW, OLD, at, started

pytestmark = pytest.mark.asyncio
INCIDENT = f"{MODEL}/{OLD}/1"
STABLE = {"name": "stable", "version": OLD, "weight": 10_000}


class World:
    """A registry, an incident, a policy; time stands unless a test moves it."""

    def __init__(self) -> None:
        self.now = EPOCH_S
        self.policies = MemoryPolicyStore()
        self.rollouts = MemoryRolloutStore(self.policies)
        self.listed = [VersionInfo(MODEL, OLD)]
        self.unregistered: list[str] = []
        self.is_away = False
        self.looked = asyncio.Event()
        self.begun = 0
        self.retrained = Retrained(
            self.policies, self.rollouts, self, self, begun=self.begin, poll_s=0.01, clock=lambda: self.now
        )

    def begin(self) -> None:
        self.begun += 1

    async def incidents(self, limit: int, model: str | None = None) -> Sequence[Incident]:
        models = [*self.unregistered, MODEL]
        return [
            Incident(id=f"{each}/{OLD}/1", model=each, version=OLD, severity="critical", opened_at=EPOCH_S)
            for each in models
        ]

    async def versions_of(self, model: str) -> Sequence[VersionInfo]:
        self.looked.set()
        if self.is_away:
            raise ServingError(ErrorKind.UNAVAILABLE, "the registry is away")
        if model in self.unregistered:
            raise not_found(f"the registry has no model {model!r}")
        return self.listed

    async def started(self, **variant: object) -> World:
        policy = parse_policy({"model": MODEL, "variants": [STABLE | variant]})
        await self.policies.put(policy, expected_revision=0, actor="ada", reason="first", at=self.now)
        return self

    def register(self, version: int, incident: str = INCIDENT) -> None:
        self.listed.append(VersionInfo(MODEL, version, tags={"shepherd.incident": incident}))

    async def rollout(self) -> Rollout | None:
        await self.retrained.turn()
        return await self.rollouts.get(MODEL)


async def test_a_version_with_the_incident_s_tag_enters_as_a_shadow_first() -> None:
    """Under its own actor, with the incident's id; looked at again, nothing more happens."""
    world = await World().started()
    assert await world.rollout() is None
    world.register(NEW)
    rollout = await world.rollout()
    assert rollout is not None
    assert (rollout.version, rollout.actor, rollout.incident) == (NEW, RETRAINING, INCIDENT)
    assert rollout.plan.shadow == ShadowStage()
    assert (await world.policies.audit())[-1].actor == RETRAINING
    await world.rollout()
    assert world.begun == 1


async def test_a_model_that_the_registry_has_no_more_holds_up_no_other() -> None:
    """Its incident is still listed, and its policy may stand."""
    world = await World().started()
    world.unregistered = ["aaa"]
    gone = parse_policy({"model": "aaa", "variants": [STABLE]})
    await world.policies.put(gone, expected_revision=0, actor="ada", reason="first", at=world.now)
    world.register(NEW)
    assert await world.rollout() is not None


async def test_the_plan_is_the_variant_s_own_where_it_has_one() -> None:
    """With a shadow before it in any case."""
    plan = {"steps": [2000, 10_000], "checks": []}
    world = await World().started(alias="champion", on_move="rollout", plan=plan)
    world.register(NEW)
    rollout = await world.rollout()
    assert rollout is not None
    assert (rollout.plan.steps, rollout.plan.shadow) == ((2000, 10_000), ShadowStage())


@pytest.mark.parametrize("incident", [f"{MODEL}/{OLD}/7", "", "../../etc"])
async def test_a_tag_that_names_no_incident_of_the_model_is_nobody_s_answer(incident: str) -> None:
    """Whatever it says."""
    world = await World().started()
    world.register(NEW, incident)
    assert await world.rollout() is None


async def test_a_version_is_tried_once_and_the_next_training_has_its_turn() -> None:
    """After a rollback the model cools down first; while a rollout is on, everybody waits."""
    world = await World().started()
    world.register(NEW)
    rollout = await world.rollout()
    assert rollout is not None
    world.register(NEW + 1)
    assert await world.rollout() == rollout
    await world.rollouts.put(at(rollout, phase=Phase.FAILED, step=0, ended_at=world.now))
    found = await world.rollout()
    assert found is not None
    assert found.version == NEW
    world.now += rollout.plan.cool_down_s + 1
    found = await world.rollout()
    assert found is not None
    assert (found.version, world.begun) == (NEW + 1, 2)


async def test_a_version_that_serves_already_and_a_model_without_policy_are_left_alone() -> None:
    """Somebody was faster, or nobody wants it served."""
    world = World()
    world.register(NEW)
    assert await world.rollout() is None
    await world.started(version=NEW)
    assert await world.rollout() is None


async def test_a_split_that_leaves_open_what_is_replaced_is_told_once_and_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two versions share the traffic, as in an experiment: whoever settles that starts the rollout."""
    world = World()
    halves = [{"name": f"v{each}", "version": each, "weight": 5000} for each in (OLD - 1, OLD)]
    shared = parse_policy({"model": MODEL, "variants": halves})
    await world.policies.put(shared, expected_revision=0, actor="ada", reason="first", at=world.now)
    world.register(NEW)

    assert await world.rollout() is None
    assert await world.rollout() is None

    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith(f"{MODEL}: version {NEW} cannot be rolled out: version: v{OLD - 1}, v{OLD} share the split")
    settled = parse_policy({"model": MODEL, "variants": [STABLE]})
    await world.policies.put(settled, expected_revision=1, actor="ada", reason="settled", at=world.now)
    assert await world.rollout() is not None
    assert world.begun == 1


async def test_whoever_starts_a_rollout_meanwhile_was_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs stands, and nothing is begun twice."""
    world = await World().started()
    world.register(NEW)
    history = world.rollouts.history

    async def history_of_a_busy_model(model: str) -> Sequence[Rollout]:
        found = await history(model)
        await world.rollouts.put(started())
        return found

    monkeypatch.setattr(world.rollouts, "history", history_of_a_busy_model)

    rollout = await world.rollout()

    assert rollout is not None
    assert (rollout.actor, world.begun) == ("ada", 0)


async def test_a_registry_that_is_away_is_asked_again() -> None:
    """Looking goes on until there is an answer."""
    world = await World().started()
    world.register(NEW)
    world.is_away = True
    looking = asyncio.create_task(world.retrained.run())
    async with asyncio.timeout(10):
        await world.looked.wait()
        assert await world.rollouts.get(MODEL) is None
        world.is_away = False
        while not world.begun:
            await asyncio.sleep(0.01)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    rollout = await world.rollouts.get(MODEL)
    assert rollout is not None
    assert rollout.version == NEW
