"""What every policy store promises, run over the one in memory and over Redis as a real Valkey."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.redis.policy_store import RedisPolicyStore
from router.policy.audit import verify_chain
from router.policy.document import Policy, parse_policy, to_document
from router.ports import PolicyChange, PolicySnapshot, PolicyStore, RevisionConflict, StoredPolicy
from serving.protocol.errors import ErrorKind, ServingError

pytestmark = pytest.mark.asyncio

OpenStore = Callable[[], PolicyStore]

#: Generous: only a broken store waits this long.
PATIENCE_S = 20.0


@pytest_asyncio.fixture(params=["memory", "redis"])
async def open_store(request: pytest.FixtureRequest) -> AsyncIterator[OpenStore]:
    """Open another handle on one and the same store, as a second process would."""
    if request.param == "memory":
        shared = MemoryPolicyStore()
        yield lambda: shared
        return
    socket: Path = request.getfixturevalue("valkey_socket")
    prefix = f"test-{uuid.uuid4().hex}:"
    opened: list[RedisPolicyStore] = []

    def open_redis() -> RedisPolicyStore:
        opened.append(RedisPolicyStore(f"unix://{socket}", prefix=prefix))
        return opened[-1]

    yield open_redis
    for store in opened:
        await store.close()


@pytest.fixture
def store(open_store: OpenStore) -> PolicyStore:
    return open_store()


def policy(model: str = "flights", canary_bp: int = 500) -> Policy:
    return parse_policy(
        {
            "model": model,
            "sticky": {"by": "header", "name": "x-user-id"},
            "variants": [
                {"name": "stable", "version": 3, "weight": 10_000 - canary_bp},
                {"name": "canary", "version": 4, "weight": canary_bp},
            ],
            "rules": [{"when": {"header": "x-cohort", "in": ["beta", 7, True]}, "variant": "canary"}],
            "shadows": [{"version": 5, "sample": 2000}],
        }
    )


async def put(store: PolicyStore, new: Policy, expected: int, at: float = 1_000.0) -> StoredPolicy:
    return await store.put(new, expected_revision=expected, actor="ada", reason="because", at=at)


async def next_of(snapshots: AsyncIterator[PolicySnapshot]) -> PolicySnapshot:
    return await asyncio.wait_for(anext(snapshots), PATIENCE_S)


async def test_an_empty_store_has_nothing_and_epoch_0(store: PolicyStore) -> None:
    """A fresh store is a valid one."""
    assert await store.snapshot() == PolicySnapshot(0, {})
    assert await store.get("flights") is None
    assert list(await store.revisions("flights")) == []
    assert list(await store.audit()) == []


async def test_what_is_put_is_read_back_by_every_handle(open_store: OpenStore) -> None:
    """The first revision is 1 and carries who, why and when."""
    stored = await put(open_store(), policy(), 0, at=1_234.5)

    assert stored == StoredPolicy(policy(), 1, "ada", "because", 1_234.5)
    assert await open_store().get("flights") == stored
    assert dict((await open_store().snapshot()).policies) == {"flights": stored}


async def test_a_write_that_expects_another_revision_changes_nothing(store: PolicyStore) -> None:
    """Compare-and-set: the loser learns the revision that stands."""
    await put(store, policy(), 0)
    before = await store.snapshot()

    for expected in (0, 2):
        with pytest.raises(RevisionConflict) as conflict:
            await put(store, policy(canary_bp=0), expected)
        assert (conflict.value.model, conflict.value.expected, conflict.value.actual) == ("flights", expected, 1)

    assert await store.snapshot() == before
    assert len(await store.audit()) == 1


async def test_what_nobody_could_read_back_is_not_written(store: PolicyStore) -> None:
    """Whoever puts a policy together without checking it hurts nobody else; nothing is changed."""
    await put(store, policy(), 0)
    variants = tuple(msgspec.structs.replace(each, version=5) for each in policy().variants)
    itself = msgspec.structs.replace(policy(), variants=variants)
    another = PolicyChange("flights", policy("trains"), 1)

    with pytest.raises(ServingError, match=r"^shadows\[0\]\.version: every variant is version 5"):
        await put(store, itself, 1)
    with pytest.raises(ServingError, match=r"^model: the policy is for 'trains'"):
        await store.write([another], actor="ada", reason="because", at=1_000.0)

    assert [each.revision for each in await store.revisions("flights")] == [1]
    assert len(await store.audit()) == 1


async def test_a_first_write_that_expects_a_revision_conflicts_with_none(store: PolicyStore) -> None:
    """Revision 0 means that there is none."""
    with pytest.raises(RevisionConflict) as conflict:
        await put(store, policy(), 3)
    assert conflict.value.actual == 0


async def test_of_two_writers_at_once_exactly_one_wins(open_store: OpenStore) -> None:
    """Even when both write the very same."""
    handles = [open_store() for _ in range(4)]

    for revision in range(5):
        outcomes = await asyncio.gather(
            *(put(handle, policy(canary_bp=revision), revision) for handle in handles), return_exceptions=True
        )
        won = [outcome for outcome in outcomes if isinstance(outcome, StoredPolicy)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, RevisionConflict)]
        assert (len(won), len(lost)) == (1, 3)
        assert won[0].revision == revision + 1

    assert [stored.revision for stored in await handles[0].revisions("flights")] == [1, 2, 3, 4, 5]


async def test_writers_of_different_models_do_not_hinder_each_other(open_store: OpenStore) -> None:
    """They race for the end of the audit log, and all get there."""
    models = [f"model-{number}" for number in range(12)]
    await asyncio.gather(*(put(open_store(), policy(model), 0) for model in models))

    assert set((await open_store().snapshot()).policies) == set(models)
    entries = await open_store().audit()
    assert len(entries) == len(models)
    assert verify_chain(entries) is None


async def test_revisions_are_kept_oldest_first_and_never_reused_after_a_delete(store: PolicyStore) -> None:
    """A revision names one document for ever."""
    await put(store, policy(canary_bp=1), 0)
    await put(store, policy(canary_bp=2), 1)
    await store.delete("flights", expected_revision=2, actor="bob", reason="gone", at=2_000.0)
    assert await store.get("flights") is None

    assert (await put(store, policy(canary_bp=3), 0)).revision == 3
    kept = await store.revisions("flights")
    assert [stored.revision for stored in kept] == [1, 2, 3]
    assert [stored.policy for stored in kept] == [policy(canary_bp=bp) for bp in (1, 2, 3)]


async def test_a_delete_is_under_the_same_condition_as_a_put(store: PolicyStore) -> None:
    """Another revision is a conflict, nothing at all is not found."""
    await put(store, policy(), 0)
    with pytest.raises(RevisionConflict):
        await store.delete("flights", expected_revision=0, actor="bob", reason="gone", at=2_000.0)
    with pytest.raises(ServingError) as missing:
        await store.delete("trains", expected_revision=0, actor="bob", reason="gone", at=2_000.0)
    assert missing.value.kind is ErrorKind.NOT_FOUND
    assert await store.get("flights") is not None


async def test_the_epoch_grows_with_every_write_also_when_the_clock_goes_back(store: PolicyStore) -> None:
    """Routers order snapshots by it."""
    epochs = [(await store.snapshot()).epoch]
    for revision, at in enumerate((5_000.0, 4_000.0, 0.0, 5_000.5)):
        await put(store, policy(), revision, at=at)
        epochs.append((await store.snapshot()).epoch)
    await store.delete("flights", expected_revision=4, actor="bob", reason="gone", at=1.0)
    epochs.append((await store.snapshot()).epoch)

    assert epochs == sorted(set(epochs))


async def test_an_empty_store_written_later_has_a_larger_epoch(open_store: OpenStore, valkey_socket: Path) -> None:
    """A store that lost its data must not look older than what routers have seen."""
    old = open_store()
    for revision in range(3):
        await put(old, policy(), revision, at=1_000.0 + revision)
    fresh = (
        MemoryPolicyStore()
        if isinstance(old, MemoryPolicyStore)
        else RedisPolicyStore(f"unix://{valkey_socket}", prefix=f"test-{uuid.uuid4().hex}:")
    )
    await put(fresh, policy(), 0, at=2_000.0)

    assert (await fresh.snapshot()).epoch > (await old.snapshot()).epoch
    if isinstance(fresh, RedisPolicyStore):
        await fresh.close()


async def test_every_write_leaves_an_audit_entry_in_a_chain_that_verifies(store: PolicyStore) -> None:
    """Who, what, why, before and after."""
    await put(store, policy(canary_bp=1), 0)
    await put(store, policy(canary_bp=2), 1)
    await store.delete("flights", expected_revision=2, actor="bob", reason="gone", at=2_000.0)
    entries = await store.audit()

    one = {"revision": 1, "policy": to_document(policy(canary_bp=1))}
    two = {"revision": 2, "policy": to_document(policy(canary_bp=2))}
    assert [(entry.seq, entry.actor, entry.action, entry.reason) for entry in entries] == [
        (1, "ada", "policy.put", "because"),
        (2, "ada", "policy.put", "because"),
        (3, "bob", "policy.delete", "gone"),
    ]
    assert [(entry.before, entry.after) for entry in entries] == [(None, one), (one, two), (two, None)]
    assert verify_chain(entries) is None


async def test_the_audit_log_is_read_in_bounded_pieces(store: PolicyStore) -> None:
    """`after_seq` continues where the piece before ended."""
    for revision in range(5):
        await put(store, policy(), revision)

    first = await store.audit(limit=3)
    second = await store.audit(after_seq=3, limit=3)
    assert [entry.seq for entry in first] == [1, 2, 3]
    assert [entry.seq for entry in second] == [4, 5]
    assert verify_chain(second, previous=first[-1]) is None
    assert list(await store.audit(after_seq=5)) == []


async def test_a_watcher_gets_what_stands_and_then_each_change(open_store: OpenStore) -> None:
    """Changes of other handles too."""
    writer = open_store()
    await put(writer, policy(canary_bp=0), 0)

    async with aclosing(open_store().watch()) as snapshots:
        seen = [await next_of(snapshots)]
        for revision in range(1, 4):
            await put(writer, policy(canary_bp=revision), revision)
            seen.append(await next_of(snapshots))
        await writer.delete("flights", expected_revision=4, actor="bob", reason="gone", at=2_000.0)
        last = await next_of(snapshots)

    assert [snapshot.policies["flights"].revision for snapshot in seen] == [1, 2, 3, 4]
    assert dict(last.policies) == {}


async def test_a_watcher_of_an_empty_store_gets_the_empty_snapshot_first(open_store: OpenStore) -> None:
    """So a router knows that it has seen the store."""
    async with aclosing(open_store().watch()) as snapshots:
        assert await next_of(snapshots) == PolicySnapshot(0, {})
        await put(open_store(), policy(), 0)
        assert set((await next_of(snapshots)).policies) == {"flights"}


async def test_a_slow_watcher_gets_the_latest_and_never_an_older_one(open_store: OpenStore) -> None:
    """Snapshots are whole, so those in between may be left out."""
    writer = open_store()
    async with aclosing(open_store().watch()) as snapshots:
        epochs = [(await next_of(snapshots)).epoch]
        for revision in range(20):
            await put(writer, policy(), revision)
        final = (await writer.snapshot()).epoch
        while epochs[-1] < final:
            epochs.append((await next_of(snapshots)).epoch)

    assert epochs == sorted(set(epochs))


async def test_several_policies_change_together_with_one_entry_each(store: PolicyStore) -> None:
    """One epoch for routers to follow at the end of it, and a whole chain."""
    await put(store, policy("a"), 0)
    changes = [
        PolicyChange("a", policy("a", 100), 1),
        PolicyChange("b", policy("b"), 0),
        PolicyChange("c", policy("c"), 0),
    ]

    stored = await store.write(changes, actor="ada", reason="together", at=2.0)

    assert [(each.policy.model, each.revision) for each in stored if each] == [("a", 2), ("b", 1), ("c", 1)]
    assert set((await store.snapshot()).policies) == {"a", "b", "c"}
    assert [entry.seq for entry in await store.audit()] == [1, 2, 3, 4]
    assert verify_chain(await store.audit()) is None


async def test_of_several_changes_none_is_made_when_one_cannot_be(store: PolicyStore) -> None:
    """Not even those before it."""
    await put(store, policy("a"), 0)
    before = await store.snapshot()

    with pytest.raises(RevisionConflict) as conflict:
        await store.write(
            [PolicyChange("b", policy("b"), 0), PolicyChange("a", None, 7)], actor="x", reason="y", at=2.0
        )
    with pytest.raises(ServingError):
        await store.write([PolicyChange("b", policy("b"), 0)] * 2, actor="x", reason="y", at=2.0)

    assert conflict.value.model == "a"
    assert await store.snapshot() == before
    assert len(await store.audit()) == 1


async def test_a_change_may_say_what_it_restores_and_what_it_is_called(store: PolicyStore) -> None:
    """Rollbacks are told from other writes, in the policy's history and in the audit log."""
    change = PolicyChange("a", policy("a"), 0, restores=5, action="policy.rollback")
    (stored,) = await store.write([change], actor="ada", reason="bad", at=2.0)

    assert stored is not None
    assert (await store.get("a"), stored.restores) == (stored, 5)
    assert [entry.action for entry in await store.audit()] == ["policy.rollback"]
