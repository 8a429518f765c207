"""Variants follow aliases of the registry: ready first, then one revision; what cannot be ready changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from router.adapters.memory import MemoryPolicyStore
from router.control.aliases import AliasFollower
from router.policy.document import parse_policy
from router.ports import VersionStatus, VersionUnready
from serving.protocol.errors import ErrorKind, ServingError, not_found

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
    return store, AliasFollower(store, world, world, poll_s=60, ready_timeout_s=1, clock=lambda: 0.0)


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

    world.aliases["m", "champion"] = 4
    await follower.turn()
    assert await versions(store) == [4, 2]


async def test_a_nudge_makes_it_look_now() -> None:
    """The next poll would come in a minute."""
    world = World()
    store, follower = await started(world)
    world.aliases["m", "champion"] = 3
    task = asyncio.create_task(follower.run())

    follower.nudge()
    async with asyncio.timeout(5):
        while await versions(store) != [3, 2]:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
