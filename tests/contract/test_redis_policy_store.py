"""What the policy store in Redis promises beyond the contract: outages, restarts, damage."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from router.adapters.redis.policy_store import RedisPolicyStore
from router.policy.audit import verify_chain
from router.policy.document import Policy, parse_policy
from router.ports import PolicySnapshot, StoredPolicy, StoreUnavailable
from tests.valkey import running_valkey, short_folder

pytestmark = pytest.mark.asyncio

PATIENCE_S = 20.0


@pytest.fixture
def valkey_folder() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest_asyncio.fixture
async def store(valkey_socket: Path) -> AsyncIterator[RedisPolicyStore]:
    store = RedisPolicyStore(f"unix://{valkey_socket}", prefix=f"test-{uuid.uuid4().hex}:")
    yield store
    await store.close()


def policy(model: str = "flights") -> Policy:
    return parse_policy({"model": model, "variants": [{"name": "stable", "version": 1, "weight": 10_000}]})


async def put(store: RedisPolicyStore, expected: int, model: str = "flights") -> StoredPolicy:
    return await store.put(policy(model), expected_revision=expected, actor="ada", reason="because", at=1_000.0)


async def next_of(snapshots: AsyncIterator[PolicySnapshot]) -> PolicySnapshot:
    return await asyncio.wait_for(anext(snapshots), PATIENCE_S)


async def test_a_look_reads_anew_only_what_has_changed(store: RedisPolicyStore) -> None:
    """A router looks after every change of any model, and its requests wait meanwhile."""
    await put(store, 0, "flights")
    await put(store, 0, "hotels")
    before = (await store.snapshot()).policies
    changed = await put(store, 1, "flights")
    await store.delete("hotels", expected_revision=1, actor="ada", reason="because", at=1_000.0)
    await put(store, 0, "trains")

    after = (await store.snapshot()).policies
    again = (await store.snapshot()).policies

    assert set(before) == {"flights", "hotels"}
    assert after["flights"] == changed
    assert set(after) == {"flights", "trains"}
    assert all(again[model] is after[model] for model in after)


async def test_without_a_server_every_call_says_so_and_names_it(valkey_folder: Path) -> None:
    """No hang, no stack trace of the client library, no password."""
    url = f"unix://user:secret@{valkey_folder}/valkey.sock"
    store = RedisPolicyStore(url)
    for call in (store.snapshot(), store.get("flights"), store.revisions("flights"), store.audit(), put(store, 0)):
        with pytest.raises(StoreUnavailable) as unavailable:
            await call
        assert str(valkey_folder) in str(unavailable.value)
        assert "secret" not in str(unavailable.value)
    await store.close()


async def test_a_store_serves_again_when_its_server_is_back(valkey_folder: Path) -> None:
    """With everything it knew, and no new handle needed."""
    store = RedisPolicyStore(f"unix://{valkey_folder}/valkey.sock")
    with running_valkey(valkey_folder):
        await put(store, 0)
        before = await store.snapshot()
    with pytest.raises(StoreUnavailable):
        await put(store, 1)
    with running_valkey(valkey_folder):
        assert await store.snapshot() == before
        assert (await put(store, 1)).revision == 2
        assert verify_chain(await store.audit()) is None
        await store.close()


async def test_a_watcher_outlives_a_restart_and_learns_what_it_missed(valkey_folder: Path) -> None:
    """The snapshot after the outage holds the write made before anybody could tell it."""
    url = f"unix://{valkey_folder}/valkey.sock"
    follower, writer = RedisPolicyStore(url, poll_s=0.2), RedisPolicyStore(url)
    async with aclosing(follower.watch()) as snapshots:
        with running_valkey(valkey_folder):
            first = await next_of(snapshots)
            coming = asyncio.ensure_future(anext(snapshots))
        with running_valkey(valkey_folder):
            await put(writer, 0)
            second = await asyncio.wait_for(coming, PATIENCE_S)
            await put(writer, 1)
            third = await next_of(snapshots)
            await writer.close()
            await follower.close()
    assert first.policies == {}
    assert [snapshot.policies["flights"].revision for snapshot in (second, third)] == [1, 2]


async def test_a_watcher_starts_before_its_server_does(valkey_folder: Path) -> None:
    """The order in which processes start does not matter."""
    store = RedisPolicyStore(f"unix://{valkey_folder}/valkey.sock", poll_s=0.2)
    async with aclosing(store.watch()) as snapshots:
        coming = asyncio.ensure_future(anext(snapshots))
        await asyncio.sleep(0)
        with running_valkey(valkey_folder):
            assert (await asyncio.wait_for(coming, PATIENCE_S)).epoch == 0
            await store.close()


async def test_a_watcher_ignores_a_store_that_came_back_older(valkey_socket: Path) -> None:
    """After a restore from an old backup, routers keep what they have until somebody writes."""
    prefix = f"test-{uuid.uuid4().hex}:"
    store = RedisPolicyStore(f"unix://{valkey_socket}", prefix=prefix, poll_s=0.02)
    redis = Redis.from_url(f"unix://{valkey_socket}")
    await put(store, 0)
    async with aclosing(store.watch()) as snapshots:
        newest = (await next_of(snapshots)).epoch
        coming = asyncio.ensure_future(anext(snapshots))
        await redis.set(f"{prefix}policy_epoch", 1)
        await redis.publish(f"{prefix}policy_changes", 1)
        await redis.set(f"{prefix}policy_epoch", newest + 5)
        assert (await asyncio.wait_for(coming, PATIENCE_S)).epoch == newest + 5
    await redis.aclose()
    await store.close()


async def test_a_watcher_finds_a_change_that_nobody_published(valkey_socket: Path) -> None:
    """Pub/sub may lose a message; the poll is the safety net."""
    prefix = f"test-{uuid.uuid4().hex}:"
    store = RedisPolicyStore(f"unix://{valkey_socket}", prefix=prefix, poll_s=0.02)
    redis = Redis.from_url(f"unix://{valkey_socket}")
    async with aclosing(store.watch()) as snapshots:
        await next_of(snapshots)
        await redis.set(f"{prefix}policy_epoch", 7)
        assert (await next_of(snapshots)).epoch == 7
    await redis.aclose()
    await store.close()


async def test_a_damaged_policy_is_named_and_freezes_nothing_but_itself(valkey_socket: Path) -> None:
    """A whole snapshot is refused rather than one with a model missing, whose traffic would then fail."""
    prefix = f"test-{uuid.uuid4().hex}:"
    store = RedisPolicyStore(f"unix://{valkey_socket}", prefix=prefix)
    redis = Redis.from_url(f"unix://{valkey_socket}")
    await put(store, 0, "trains")
    await redis.hset(f"{prefix}policies", "flights", '{"policy": {"model": "flights"}}')

    for call in (store.snapshot(), store.get("flights")):
        with pytest.raises(StoreUnavailable) as unavailable:
            await call
        assert "'flights'" in str(unavailable.value)
    assert (await put(store, 1, "trains")).revision == 2
    await redis.aclose()
    await store.close()


async def test_the_youngest_readable_revision_stands_in_for_one_that_is_not(valkey_socket: Path) -> None:
    """Another release may have written it: the other models go on, `problems` says so, and a write puts it right."""
    prefix = f"test-{uuid.uuid4().hex}:"
    store = RedisPolicyStore(f"unix://{valkey_socket}", prefix=prefix)
    redis = Redis.from_url(f"unix://{valkey_socket}")
    trains, flights = await put(store, 0, "trains"), await put(store, 0)
    strange = b'{"policy": {"model": "flights", "magic": 1}, "revision": 2, "actor": "b", "reason": "r", "at": 1.0}'
    await redis.hset(f"{prefix}policies", "flights", strange)
    await redis.rpush(f"{prefix}policy_revisions:flights", strange)

    successor = RedisPolicyStore(f"unix://{valkey_socket}", prefix=prefix)
    for reader in (store, successor):
        snapshot = await reader.snapshot()
        assert dict(snapshot.policies) == {"trains": trains, "flights": flights}
        (problem,) = snapshot.problems
        assert "'flights'" in problem
        assert "revision 1 stands in" in problem
        assert await reader.get("flights") == flights
        assert list(await reader.revisions("flights")) == [flights]
    assert (await put(store, 1)).revision == 3
    assert (await store.snapshot()).problems == ()
    await successor.close()
    await redis.aclose()
    await store.close()


@asynccontextmanager
async def deaf_after_exec(upstream: Path, folder: Path) -> AsyncIterator[Path]:
    """A proxy that passes everything on until it has passed on an EXEC; then it hangs up without the answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        valkey_reader, valkey_writer = await asyncio.open_unix_connection(upstream)
        with contextlib.closing(writer), contextlib.closing(valkey_writer):
            while request := await reader.read(65_536):
                valkey_writer.write(request)
                answer = await valkey_reader.read(65_536)
                if b"EXEC" in request:
                    return
                writer.write(answer)

    server = await asyncio.start_unix_server(serve, folder / "proxy.sock")
    async with server:
        yield folder / "proxy.sock"


async def test_a_write_whose_answer_is_lost_is_not_taken_for_a_conflict(
    valkey_socket: Path, valkey_folder: Path
) -> None:
    """It took effect, which its writer cannot know: tried again, it would lose against itself."""
    prefix = f"test-{uuid.uuid4().hex}:"
    async with deaf_after_exec(valkey_socket, valkey_folder) as proxy:
        store = RedisPolicyStore(f"unix://{proxy}", prefix=prefix)
        with pytest.raises(StoreUnavailable, match="read the policy before trying again"):
            await put(store, 0)
        await store.close()

    direct = RedisPolicyStore(f"unix://{valkey_socket}", prefix=prefix)
    stored = await direct.get("flights")
    assert stored is not None
    assert stored.revision == 1
    await direct.close()


async def test_a_refusal_of_redis_is_reported_as_unavailable(store: RedisPolicyStore, valkey_socket: Path) -> None:
    """E.g. a full disk or a key of another kind; nothing is changed."""
    redis = Redis.from_url(f"unix://{valkey_socket}")
    await redis.set(store._policies, "not a hash")
    with pytest.raises(StoreUnavailable) as unavailable:
        await put(store, 0)
    assert "WRONGTYPE" in str(unavailable.value)
    assert list(await store.audit()) == []
    await redis.aclose()
