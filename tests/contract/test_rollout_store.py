"""What every store of rollouts and of kept answers promises, over memory and over a real Valkey."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.memory.rollout_store import MemoryAnswerStore, MemoryRolloutStore
from router.adapters.redis.policy_store import RedisPolicyStore
from router.adapters.redis.rollout_store import RedisAnswerStore, RedisRolloutStore
from router.policy.audit import verify_chain
from router.ports import PolicyStore
from router.rollout.phase import Phase
from router.rollout_ports import AnswerStore, KeptAnswer, Note, RolloutConflict, RolloutStore
from tests.rollouts import MODEL, at, started

pytestmark = pytest.mark.asyncio

NOTE = Note("rollout.start", "ada", "a better model")


class Stores(NamedTuple):
    policies: PolicyStore
    rollouts: RolloutStore
    answers: AnswerStore


@pytest_asyncio.fixture(params=["memory", "redis"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "memory":
        policies = MemoryPolicyStore()
        yield Stores(policies, MemoryRolloutStore(policies), MemoryAnswerStore())
        return
    socket: Path = request.getfixturevalue("valkey_socket")
    url, prefix = f"unix://{socket}", f"test-{uuid.uuid4().hex}:"
    kept = (
        RedisPolicyStore(url, prefix=prefix),
        RedisRolloutStore(url, prefix=prefix),
        RedisAnswerStore(url, prefix=prefix),
    )
    yield Stores(*kept)
    for store in kept:
        await store.close()


async def test_a_rollout_is_read_as_it_was_stored(stores: Stores) -> None:
    """Each write counts its revision."""
    stored = await stores.rollouts.put(started())

    assert stored == at(started(), revision=1)
    assert await stores.rollouts.get(MODEL) == stored
    assert dict(await stores.rollouts.all()) == {MODEL: stored}
    assert await stores.rollouts.get("other") is None


async def test_of_two_writers_that_read_the_same_record_one_loses(stores: Stores) -> None:
    """So a controller and an operator never undo each other's decision."""
    stored = await stores.rollouts.put(started())
    outcomes = await asyncio.gather(
        *(stores.rollouts.put(at(stored, words=str(n))) for n in range(5)), return_exceptions=True
    )

    assert sum(isinstance(outcome, RolloutConflict) for outcome in outcomes) == 4
    current = await stores.rollouts.get(MODEL)
    assert current is not None
    assert current.revision == 2


async def test_a_new_rollout_follows_only_one_that_is_over(stores: Stores) -> None:
    """And what is over becomes history."""
    first = await stores.rollouts.put(started())
    with pytest.raises(RolloutConflict):
        await stores.rollouts.put(at(started(), id="r2"))
    over = await stores.rollouts.put(at(first, phase=Phase.ABORTED))
    second = await stores.rollouts.put(at(started(), id="r2"))

    assert (second.id, second.revision) == ("r2", 1)
    assert list(await stores.rollouts.history(MODEL)) == [over]


async def test_a_note_is_in_the_audit_log_if_and_only_if_the_rollout_is_stored(stores: Stores) -> None:
    """The chain stays whole with policies' and others' entries between."""
    stored = await stores.rollouts.put(started(), note=NOTE, at=5.0)
    with pytest.raises(RolloutConflict):
        await stores.rollouts.put(at(stored, revision=7), note=NOTE, at=6.0)
    await stores.policies.note(
        action="token.add", actor="ada", reason="new colleague", model="", before=None, after={"name": "ben"}, at=7.0
    )
    await stores.rollouts.put(stored, note=Note("rollout.pause", "ben", "lunch"), at=8.0)

    entries = await stores.policies.audit()
    assert [(entry.action, entry.actor, entry.at) for entry in entries] == [
        ("rollout.start", "ada", 5.0),
        ("token.add", "ada", 7.0),
        ("rollout.pause", "ben", 8.0),
    ]
    assert entries[0].before is None
    assert entries[2].before["phase"] == "pending"
    assert verify_chain(entries) is None


async def test_a_key_is_taken_once_and_gives_back_its_answer(stores: Stores) -> None:
    """Also to whoever asks with another request: the caller compares the fingerprints."""
    answers = stores.answers
    assert await answers.claim("k", "one") is None
    assert await answers.claim("k", "two") == KeptAnswer("one")
    answer = KeptAnswer("one", 200, {"etag": '"3"'}, b"{}")
    await answers.keep("k", answer)
    assert await answers.claim("k", "one") == answer


async def test_a_released_key_is_free(stores: Stores) -> None:
    """Its request changed nothing, so it may be tried again."""
    assert await stores.answers.claim("k", "one") is None
    await stores.answers.release("k")
    assert await stores.answers.claim("k", "two") is None
