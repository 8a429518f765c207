"""What every key store promises, in memory and in Redis: names given once, changes audited, watchers told."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from router.access.key import ApiKey, digest_of
from router.access.scope import read_scope
from router.adapters.memory.key_store import MemoryKeyStore
from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.redis.key_store import RedisKeyStore
from router.adapters.redis.policy_store import RedisPolicyStore
from router.policy.audit import verify_chain
from router.ports import KeyExists, KeyStore, PolicyStore, StoreUnavailable
from serving.protocol.errors import ErrorKind, ServingError

pytestmark = pytest.mark.asyncio

PATIENCE_S = 10.0


class Stores(NamedTuple):
    """A key store, and the policy store that has its audit log."""

    keys: KeyStore
    policies: PolicyStore


@pytest_asyncio.fixture(params=["memory", "redis"])
async def stores(request: pytest.FixtureRequest, valkey_socket: Path) -> AsyncIterator[Stores]:
    """Empty ones."""
    if request.param == "memory":
        policies = MemoryPolicyStore()
        yield Stores(MemoryKeyStore(policies), policies)
        return
    url, prefix = f"unix://{valkey_socket}", f"test-{uuid.uuid4().hex}:"
    # A poll that never comes: what the watcher hears, it was told.
    keys, kept = RedisKeyStore(url, prefix=prefix, poll_s=3600), RedisPolicyStore(url, prefix=prefix)
    yield Stores(keys, kept)
    await keys.close()
    await kept.close()


def key(name: str = "team") -> ApiKey:
    return ApiKey(name, read_scope(["fraud", "churn-*"]), digest_of(f"secret of {name}"), 1_000.0, 2_000.0)


async def create(store: KeyStore, name: str = "team") -> None:
    await store.create(key(name), actor="ada", reason="they asked", at=1_000.0)


async def revoke(store: KeyStore, name: str = "team") -> None:
    await store.revoke(name, actor="bob", reason="they left", at=2_000.0)


async def test_a_key_is_there_as_it_was_made_until_it_is_revoked(stores: Stores) -> None:
    """By name, with its scope; the epoch grows with each change."""
    await create(stores.keys, "b")
    await create(stores.keys, "a")
    made = await stores.keys.snapshot()
    await revoke(stores.keys, "b")
    left = await stores.keys.snapshot()

    assert made.keys == (key("a"), key("b"))
    assert left.keys == (key("a"),)
    assert 0 < made.epoch < left.epoch


async def test_a_name_is_given_once(stores: Stores) -> None:
    """A second key would end the first behind its owner's back; after a revocation the name is free."""
    await create(stores.keys)
    with pytest.raises(KeyExists, match="team"):
        await create(stores.keys)
    await revoke(stores.keys)
    await create(stores.keys)


async def test_what_is_not_there_cannot_be_revoked(stores: Stores) -> None:
    """NOT_FOUND, and no entry in the audit log."""
    with pytest.raises(ServingError) as refused:
        await revoke(stores.keys)
    assert refused.value.kind is ErrorKind.NOT_FOUND
    assert not await stores.policies.audit()


async def test_each_change_is_an_entry_of_the_audit_log_without_the_digest(stores: Stores) -> None:
    """Who, why, before and after, in the chain of everything else."""
    await create(stores.keys)
    await revoke(stores.keys)
    entries = await stores.policies.audit()

    assert [(entry.action, entry.actor, entry.reason) for entry in entries] == [
        ("key.create", "ada", "they asked"),
        ("key.revoke", "bob", "they left"),
    ]
    assert entries[0].after == entries[1].before == key().describe()
    assert entries[0].before is entries[1].after is None
    assert verify_chain(entries) is None
    assert key().sha256 not in str(entries)


async def test_a_watcher_is_told_of_every_change(stores: Stores) -> None:
    """Without a poll: revocations reach routers as fast as policies do."""
    async with aclosing(stores.keys.watch()) as snapshots:
        assert (await asyncio.wait_for(anext(snapshots), PATIENCE_S)).keys == ()
        for change, expected in ((create, (key(),)), (revoke, ())):
            telling = asyncio.ensure_future(anext(snapshots))
            await asyncio.sleep(0)
            await change(stores.keys)
            assert (await asyncio.wait_for(telling, PATIENCE_S)).keys == expected


async def test_without_a_server_every_call_says_so(tmp_path: Path) -> None:
    """`StoreUnavailable`, which the admin API answers with 503."""
    store = RedisKeyStore(f"unix://{tmp_path}/nobody.sock")
    for call in (store.snapshot(), create(store), revoke(store)):
        with pytest.raises(StoreUnavailable, match="those last seen go on"):
            await call
    await store.close()
