"""Several counters share the log: whoever counts what, and dies over it, the monitor knows what one would know."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from router.adapters.memory.policy_store import MemoryPolicyStore
from router.adapters.memory.rollout_store import MemoryRolloutStore
from router.adapters.redis.counting import Batch, RecordsTaken, RedisCounting, ReferenceChanged
from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.monitor_state import RedisMonitorState
from router.adapters.redis.watch import RedisWatch
from router.drift.profile import encode_profile
from router.monitor.book import Book
from router.monitor.state import Arm
from router.requestlog.label import Label
from router.requestlog.record import Record, encode_record
from router.requestlog.sequences import Run
from router.watch.counter import Counter
from router.watch.monitor import Monitor
from router.watch.rollback import Rollback
from router.watch.trial_finder import TrialFinder
from tests.counter_process import running_counters
from tests.watched import MODEL, SETTINGS, Log, ids, profile, rows, truth

pytestmark = pytest.mark.asyncio

DOCUMENT = encode_profile(profile())
#: Version 1 comes with a profile, version 2 makes its own reference.
VERSIONS = (1, 2)


class Board:
    """Says that nothing is ready."""

    async def read(self) -> Sequence[Any]:
        return ()


class Site:
    """One log with its labels, and the monitor of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"test-{uuid.uuid4().hex}:"
        self.redis: Redis = Redis.from_url(url)
        self.watch = RedisWatch(url, prefix=self.prefix)
        self.labels = RedisLabels(url, prefix=self.prefix)
        self._closing: list[Any] = [self.watch, self.labels]

    def monitor(self, *, counts_itself: bool) -> Monitor:
        state = RedisMonitorState(
            self.url,
            holder=uuid.uuid4().hex,
            label_ttl_s=86_400.0,
            counts_itself=counts_itself,
            prefix=self.prefix,
        )
        self._closing.append(state)
        policies = MemoryPolicyStore()
        rollouts = MemoryRolloutStore(policies)
        return Monitor(
            state,
            Rollback(policies, rollouts, Board()),
            SETTINGS,
            trials=TrialFinder(rollouts, lambda: LAST_AT),
            attached=lambda _model, version: DOCUMENT if version == 1 else None,
            clock=lambda: LAST_AT + 5.0,
            label_patience_s=-1.0,  # by the time labels are posted, every answer is there
        )

    def counting(self, consumer: str) -> RedisCounting:
        made = RedisCounting(self.url, consumer=consumer, label_ttl_s=86_400.0, stale_ms=0, prefix=self.prefix)
        self._closing.append(made)
        return made

    async def write(self, entries: Sequence[tuple[float, bytes]]) -> None:
        """Write entries into the log as of the times that are given."""
        for number, (at, data) in enumerate(entries):
            await self.redis.xadd(f"{self.prefix}log", {"records": data}, id=f"{int(at * 1000)}-{number}")

    async def post(self, request_ids: Sequence[str], values: Sequence[float]) -> None:
        labels = [Label(each, value, None) for each, value in zip(request_ids, values, strict=True)]
        await self.labels.add(MODEL, labels, at=LAST_AT)

    async def until_judged(self) -> None:
        """Wait until everything has been counted and judged."""
        async with asyncio.timeout(60):
            while not await self._is_judged():
                await asyncio.sleep(0.05)

    async def _is_judged(self) -> bool:
        groups: Any = await self.redis.xinfo_groups(f"{self.prefix}log")
        unread = sum(group["pending"] + group["lag"] for group in groups)
        if not groups or unread or await self.redis.xlen(f"{self.prefix}monitor:counts"):
            return False
        book = await self.watch.book()
        is_open = any(arm.slots for arm in book.arms.values()) or any(each.gathered for each in book.versions.values())
        return bool(book.arms) and not is_open

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in self._closing))
        await self.redis.aclose()


@pytest_asyncio.fixture
async def sites(valkey_socket: Path) -> AsyncIterator[list[Site]]:
    made = [Site(f"unix://{valkey_socket}") for _ in range(2)]
    yield made
    for site in made:
        await site.close()


def interleaved() -> tuple[list[Record], list[float]]:
    """Make the records of two versions in turn, and their labels."""
    drawn = {version: rows(version, 1500, shift=0.3) for version in VERSIONS}
    logs = {version: Log(version=version, incarnation=f"router-{version}") for version in VERSIONS}
    records: list[Record] = []
    values: list[float] = []
    for start in range(0, 1500, 10):
        for version in VERSIONS:
            part = drawn[version][start : start + 10]
            made = logs[version].records(part)
            records += [msgspec.structs.replace(each, request_id=f"v{version}-{each.request_id}") for each in made]
            values += truth(part, seed=start).tolist()
    return records, values


RECORDS, VALUES = interleaved()
LAST_AT = RECORDS[-1].at


def entries() -> list[tuple[float, bytes]]:
    """Cut the records into entries of ten, in the order of time; one entry comes twice, one has a broken frame."""
    parts = [RECORDS[start : start + 10] for start in range(0, len(RECORDS), 10)]
    parts.sort(key=lambda part: part[-1].at)
    made = [(part[-1].at + 0.2, b"".join(map(encode_record, part))) for part in parts]
    at, data = made[40]
    made[40] = (at, data[:-1] + bytes([data[-1] ^ 0xFF]))
    made.insert(61, (made[60][0], made[60][1]))
    return made


async def test_four_counters_one_of_them_killed_know_what_one_knows(sites: list[Site]) -> None:
    """Bit for bit: windows, evidence, references, rows for explanations, alarms by labels."""
    alone, shared = sites
    broken = ids(sorted((RECORDS[start : start + 10] for start in range(0, 3000, 10)), key=lambda p: p[-1].at)[40])[-1]
    known = [(each, value) for each, value in zip(ids(RECORDS), VALUES, strict=True) if each != broken]
    books = []
    for site in (alone, shared):
        with running_counters(4 if site is shared else 0, site.url, site.prefix) as counters:
            pids = [each.pid or 0 for each in counters]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            await site.write(entries())
            if site is shared:
                await stop_amid_an_entry(site, pids[0])
                counters[0].kill()
            for pid in pids[1:]:
                os.kill(pid, signal.SIGCONT)
            running = asyncio.create_task(site.monitor(counts_itself=site is alone).run())
            await site.until_judged()
            await site.post([each for each, _ in known], [value for _, value in known])
            # Version 2 made its reference of its first answers, whose labels find none.
            book = await asyncio.wait_for(settled(site), 60)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            books.append(book)
        pending: Any = await site.redis.xpending(f"{site.prefix}log", "monitor")
        assert pending["pending"] == 0
        assert await site.redis.xlen(f"{site.prefix}log:poison") == 1
    one, four = books

    for version in VERSIONS:
        arm = Arm(MODEL, version, "stable")
        assert one.arms[arm].windows >= 5
        assert msgspec.msgpack.encode(four.arms[arm]) == msgspec.msgpack.encode(one.arms[arm])
        assert four.profile(MODEL, version) == one.profile(MODEL, version)
        assert four.versions[MODEL, version].quiet == one.versions[MODEL, version].quiet
        assert four.standard(MODEL, version) == one.standard(MODEL, version)
    assert four.labels == one.labels


async def settled(site: Site) -> Book:
    """Wait until every label was joined or given up."""
    while True:
        book = await site.watch.book()
        counts = book.labels.get(MODEL)
        if counts is not None and counts.joined + counts.unknown == 2999:
            return book
        await asyncio.sleep(0.05)


async def stop_amid_an_entry(site: Site, pid: int) -> None:
    """Let a counter go on until it holds entries that it has not stored."""
    async with asyncio.timeout(30):
        while True:
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(0.002)
            os.kill(pid, signal.SIGSTOP)
            groups: Any = await site.redis.xinfo_groups(f"{site.prefix}log")
            if groups:
                consumers: Any = await site.redis.xinfo_consumers(f"{site.prefix}log", "monitor")
                if any(each["name"] == b"0" and each["pending"] for each in consumers):
                    return


async def test_of_two_counters_that_read_the_same_one_counts_it(sites: list[Site]) -> None:
    """The second one is told which records are taken, and nothing of its batch is stored."""
    first, second = sites[0].counting("first"), sites[0].counting("second")
    await first.begin()
    await first.store(Batch(ids=[], counts=b"a", runs=[Run("router-1", 1, 10), Run("router-1", 11, 20)]))
    with pytest.raises(RecordsTaken) as taken:
        await second.store(Batch(ids=[], counts=b"b", runs=[Run("router-2", 1, 5), Run("router-1", 15, 30)]))
    await second.store(Batch(ids=[], counts=b"c", runs=[Run("router-2", 1, 5), Run("router-1", 21, 30)]))
    stored: Any = await sites[0].redis.xrange(f"{sites[0].prefix}monitor:counts")
    runs: Any = await sites[0].redis.zrange(f"{sites[0].prefix}monitor:taken:router-1", 0, -1)

    assert taken.value.runs == [Run("router-1", 1, 20)]
    assert [fields[b"counts"] for _, fields in stored] == [b"a", b"c"]
    assert runs == [b"1-30"]


async def test_counts_in_the_bins_of_a_profile_that_has_gone_are_counted_again(sites: list[Site]) -> None:
    """The reference is looked at in the moment of storing."""
    counter = sites[0].counting("first")
    await sites[0].redis.hset(f"{sites[0].prefix}monitor:references", "m 1", "new")
    with pytest.raises(ReferenceChanged):
        await counter.store(Batch(ids=[], counts=b"a", references={("m", 1): "old"}))
    await counter.store(Batch(ids=[], counts=b"a", references={("m", 1): "new"}))

    assert await counter.backlog() == 1


async def test_an_entry_that_cannot_be_counted_is_kept_aside_and_the_others_count(sites: list[Site]) -> None:
    """Found by taking a batch apart; here by a state of the monitor's own that no record should meet."""
    site = sites[0]
    counting = site.counting("first")
    await counting.begin()
    await site.write([(at, data) for at, data in entries()[:3]])
    read = await counting.read(10, 100)

    class Failing(Counter):
        def _counted(self, taken: Any, arrivals: Any, poison: Any) -> Batch:
            if any(entry.id == read[1].id for entry in taken):
                raise ArithmeticError
            return super()._counted(taken, arrivals, poison)

    await Failing(counting, SETTINGS.window).take(read)
    aside: Any = await site.redis.xrange(f"{site.prefix}log:poison")
    pending: Any = await site.redis.xpending(f"{site.prefix}log", "monitor")

    assert [fields[b"entry"].decode() for _, fields in aside] == [read[1].id]
    assert await counting.backlog() == 2
    assert pending["pending"] == 0
