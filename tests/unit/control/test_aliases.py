"""Variants follow aliases of the registry, by a swap or a rollout; what cannot take over changes nothing, aloud."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.memory.rollout_store import MemoryRolloutStore
from router.control.aliases import AliasFollower
from router.policy.document import parse_policy, to_document
from router.ports import PolicyChange, VersionStatus, VersionUnready
from router.rollout.phase import Phase
from router.rollout.rollout import Rollout
from serving.protocol.errors import ErrorKind, ServingError, not_found
from tests.rollouts import at

pytestmark = pytest.mark.asyncio

POLICY = {
    "model": "m",
    "variants": [
        {"name": "stable", "version": 1, "weight": 9000, "alias": "champion"},
        {"name": "canary", "version": 2, "weight": 1000},
    ],
}


class World:
    """A registry whose aliases can be moved, and versions of which some do not load."""

    def __init__(self) -> None:
        self.aliases: dict[tuple[str, str], int] = {}
        self.broken: set[int] = set()
        self.away = False
        self.asked: list[int] = []
        self.now = 1000.0
        self.begun = 0
        self.rollouts: MemoryRolloutStore

    def begin(self) -> None:
        self.begun += 1

    async def aliased(self, model: str, alias: str) -> int:
        if self.away:
            raise ServingError(ErrorKind.UNAVAILABLE, "away")
        if (model, alias) not in self.aliases:
            raise not_found(f"no alias {alias}")
        return self.aliases[model, alias]

    async def ensure_ready(self, model: str, version: int, *, timeout_s: float) -> VersionStatus:
        self.asked.append(version)
        if version in self.broken:
            raise VersionUnready(VersionStatus(model, version, "failed", "it is broken"))
        return VersionStatus(model, version, "ready")

    async def versions(self) -> Sequence[VersionStatus]:
        return ()

    async def unload(self, model: str, version: int, *, timeout_s: float) -> VersionStatus:
        raise NotImplementedError

    async def register(self, name: str, onnx: bytes, *, example: bytes | None, tags: Mapping[str, str]) -> int:
        raise NotImplementedError


async def started(world: World, policy: dict[str, Any] | None = None) -> tuple[MemoryPolicyStore, AliasFollower]:
    store = MemoryPolicyStore()
    await store.put(parse_policy(policy or POLICY), expected_revision=0, actor="test", reason="test", at=0)
    world.rollouts = MemoryRolloutStore(store)
    follower = AliasFollower(
        store,
        world.rollouts,
        world,
        world,
        begun=world.begin,
        poll_s=60,
        ready_timeout_s=1,
        clock=lambda: world.now,
    )
    return store, follower


async def versions(store: MemoryPolicyStore) -> list[int]:
    stored = await store.get("m")
    assert stored is not None
    return [variant.version for variant in stored.policy.variants]


async def test_a_moved_alias_becomes_a_revision_that_says_so() -> None:
    """The variant that does not follow stays."""
    world = World()
    store, follower = await started(world)
    world.aliases["m", "champion"] = 3

    await follower.turn()

    assert await versions(store) == [3, 2]
    stored = await store.get("m")
    assert stored is not None
    assert (stored.actor, stored.reason) == ("registry", "alias champion moved: 1 → 3")
    assert world.asked == [3]


async def test_an_alias_that_moves_to_the_shadow_ends_the_shadow() -> None:
    """Kept, it would compare the version with itself: a policy that nobody could read back."""
    world = World()
    alone = [{"name": "stable", "version": 3, "weight": 10_000, "alias": "champion"}]
    store, follower = await started(
        world, {"model": "m", "variants": alone, "shadows": [{"version": 5}, {"version": 6}]}
    )
    world.aliases["m", "champion"] = 5

    await follower.turn()

    stored = await store.get("m")
    assert stored is not None
    assert parse_policy(to_document(stored.policy)) == stored.policy
    assert await versions(store) == [5]
    assert [shadow.version for shadow in stored.policy.shadows] == [6]


async def test_nothing_happens_while_the_alias_stays_or_is_unknown_or_the_registry_is_away() -> None:
    """Traffic goes on as it is."""
    world = World()
    store, follower = await started(world)

    await follower.turn()
    world.aliases["m", "champion"] = 1
    await follower.turn()
    world.aliases["m", "champion"], world.away = 3, True
    await follower.turn()

    assert await versions(store) == [1, 2]
    assert world.asked == []


async def test_a_version_that_is_not_ready_changes_nothing_and_is_left_alone_for_a_while() -> None:
    """Until the alias moves on."""
    world = World()
    world.broken.add(3)
    store, follower = await started(world)
    world.aliases["m", "champion"] = 3

    await follower.turn()
    await follower.turn()
    assert (await versions(store), world.asked) == ([1, 2], [3])
    assert follower.concerns() == ["m@champion: alias champion moved: 1 → 3; it is broken; it stays at 1"]

    world.aliases["m", "champion"] = 4
    await follower.turn()
    assert await versions(store) == [4, 2]
    assert follower.concerns() == []


async def test_an_alias_to_nothing_is_said() -> None:
    """And so is a registry that is away; both pass without a trace."""
    world = World()
    _, follower = await started(world)
    await follower.turn()
    assert follower.concerns() == ["m@champion: not followed: no alias champion"]
    world.aliases["m", "champion"] = 1
    await follower.turn()
    assert follower.concerns() == []


async def test_what_was_rolled_back_is_not_followed_to_again() -> None:
    """The alias still points there; a rollback that lasted until the next poll would be none."""
    world = World()
    store, follower = await started(world)
    world.aliases["m", "champion"] = 3
    await follower.turn()
    back = PolicyChange("m", parse_policy(POLICY), 2, 1, "policy.rollback")
    await store.write([back], actor="ada", reason="customers complain", at=0)

    await follower.turn()
    assert await versions(store) == [1, 2]
    assert "version 3 was rolled back" in follower.concerns()[0]
    world.aliases["m", "champion"] = 4
    await follower.turn()
    assert await versions(store) == [4, 2]


ROLLED: dict[str, Any] = {
    "model": "m",
    "variants": [
        {
            "name": "stable",
            "version": 1,
            "weight": 10_000,
            "alias": "champion",
            "on_move": "rollout",
            "plan": {"steps": [500, 10_000], "checks": ["error_rate"]},
        }
    ],
}


async def rollout_of(world: World) -> Rollout:
    found = await world.rollouts.get("m")
    assert found is not None
    return found


async def test_a_move_becomes_a_rollout_by_the_plan_of_the_variant() -> None:
    """As an operator would start it, by the actor `registry`; the policy changes only as the rollout goes on."""
    world = World()
    store, follower = await started(world, ROLLED)
    world.aliases["m", "champion"] = 3
    await follower.turn()

    rollout = await rollout_of(world)
    assert (rollout.version, rollout.actor, rollout.alias) == (3, "registry", "champion")
    assert rollout.plan.steps == (500, 10_000)
    assert rollout.reason == "alias champion moved: 1 → 3"
    assert (await versions(store), world.begun) == ([1], 1)
    assert (await store.audit())[-1].action == "rollout.start"


async def test_while_a_rollout_is_on_nothing_else_moves() -> None:
    """Its own alias is silent; one that moves on meanwhile waits, and says so."""
    world = World()
    _, follower = await started(world, ROLLED)
    world.aliases["m", "champion"] = 3
    await follower.turn()
    await follower.turn()
    assert (world.begun, follower.concerns()) == (1, [])
    world.aliases["m", "champion"] = 4
    await follower.turn()
    assert world.begun == 1
    assert "waits for the rollout of version 3" in follower.concerns()[0]


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.ABORTED, Phase.SUPERSEDED])
async def test_a_rollout_that_did_not_succeed_is_not_repeated(phase: Phase) -> None:
    """The variant stays and says why, until the alias moves on and the model has cooled down."""
    world = World()
    _, follower = await started(world, ROLLED)
    world.aliases["m", "champion"] = 3
    await follower.turn()
    failed = at(await rollout_of(world), phase=phase, step=0, words="too many errors", ended_at=world.now)
    await world.rollouts.put(failed)
    await follower.turn()
    assert world.begun == 1
    assert f"its rollout {phase}: too many errors; it stays at 1" in follower.concerns()[0]

    world.aliases["m", "champion"] = 4
    await follower.turn()
    if phase is Phase.FAILED:
        assert "after a rollback the model waits another" in follower.concerns()[0]
    world.now += 1000
    await follower.turn()
    assert (world.begun, (await rollout_of(world)).version) == (2, 4)


async def test_an_alias_that_could_not_be_moved_at_the_promotion_leads_nobody_back() -> None:
    """The registry still points to what was replaced; an alias that moves on is followed."""
    world = World()
    store, follower = await started(world, ROLLED)
    world.aliases["m", "champion"] = 3
    await follower.turn()
    rollout = at(
        await rollout_of(world), phase=Phase.SUCCEEDED, words="version 3 has taken over, but the registry does not know"
    )
    await world.rollouts.put(rollout)
    promoted = parse_policy({**ROLLED, "variants": [{**ROLLED["variants"][0], "version": 3}]})
    await store.put(promoted, expected_revision=1, actor="rollout:r1", reason="promoted", at=0)

    world.aliases["m", "champion"] = 1
    await follower.turn()
    assert (await versions(store), world.begun) == ([3], 1)
    assert "the registry does not know; it stays at 3" in follower.concerns()[0]
    world.aliases["m", "champion"] = 4
    await follower.turn()
    assert (world.begun, (await rollout_of(world)).version) == (2, 4)


async def test_a_policy_that_no_rollout_fits_stays_and_says_why() -> None:
    """With two versions in the split it is open which one the new one replaces."""
    world = World()
    variants = [{**ROLLED["variants"][0], "weight": 5000}, {"name": "b", "version": 2, "weight": 5000}]
    _, follower = await started(world, {"model": "m", "variants": variants})
    world.aliases["m", "champion"] = 3
    await follower.turn()
    assert world.begun == 0
    assert "share the split" in follower.concerns()[0]


async def test_a_nudge_makes_it_look_now() -> None:
    """The next poll would come in a minute."""
    world = World()
    store, follower = await started(world)
    world.aliases["m", "champion"] = 3
    task = asyncio.create_task(follower.run())

    follower.nudge()
    async with asyncio.timeout(30):
        while await versions(store) != [3, 2]:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
