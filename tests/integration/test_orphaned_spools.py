"""Spools whose routers are gone: a successor ships what they left, exactly once, whatever their files look like."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from router.adapters.files.spool_accounting import LocalLogAccounting
from router.adapters.redis.request_log import RedisRequestLog
from router.gateway.log.shipper import Shipper
from tests.answers import a_spool, leave_as_killed
from tests.killed_routers import answer_and_ship_for_ever, last_told, running, wait_for
from tests.shipping import a_shipper, a_stream, answer, is_folded, raw_ids
from tests.valkey import running_valkey, short_folder
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]


@pytest_asyncio.fixture
async def stream(valkey_socket: Path, prefix: str) -> AsyncIterator[RedisRequestLog]:
    async with a_stream(valkey_socket, prefix=prefix) as stream:
        yield stream


async def test_what_a_stop_could_not_ship_is_left_for_the_next_router(tmp_path: Path) -> None:
    """A stop keeps its time limit."""
    spool = a_spool(tmp_path)
    answer(spool, 100)
    with short_folder() as folder:
        async with a_stream(folder / "valkey.sock") as stream:
            shipper = a_shipper(spool, stream, tmp_path)
            shipper.start()

            assert not await shipper.stop(0.1)

            with running_valkey(folder):
                successor = a_shipper(a_spool(tmp_path, "r2"), stream, tmp_path)
                successor.start()
                await until(lambda: is_folded(tmp_path, "r1"))
                await successor.stop()

                assert await raw_ids(stream) == [f"r1#{n}" for n in range(1, 101)]
    assert LocalLogAccounting(tmp_path).read()["logged"] == 100


async def test_killed_routers_lose_no_answer_and_double_none(
    tmp_path: Path, valkey_socket: Path, stream: RedisRequestLog, prefix: str
) -> None:
    """Routers that record and ship at full speed are killed; a successor ships what each has left."""
    answered: dict[str, int] = {}
    url = f"unix://{valkey_socket}"
    for life in range(6):
        name = f"router-{life}"
        with running(answer_and_ship_for_ever, tmp_path, name, url, prefix) as (process, pipe):
            told = wait_for(pipe, 400 * life + 1)
            process.kill()
            process.join()
            answered[name] = max(told, last_told(pipe))

    successor = a_shipper(a_spool(tmp_path, "successor"), stream, tmp_path)
    successor.start()
    for name in answered:
        await until(lambda name=name: is_folded(tmp_path, name))  # type: ignore[misc]
    await successor.stop()

    ids = await raw_ids(stream)
    assert len(set(ids)) == len(ids)
    shipped = Counter(id_.partition("#")[0] for id_ in ids)
    assert all(count <= shipped[name] <= count + 20 for name, count in answered.items())
    accounting = LocalLogAccounting(tmp_path).read()
    assert accounting["logged"] == accounting["requests"] == len(ids)


async def test_of_two_successors_one_takes_an_orphan(tmp_path: Path, stream: RedisRequestLog) -> None:
    """Folders are taken under their lock."""
    orphan = a_spool(tmp_path, "orphan")
    answer(orphan, 200)
    leave_as_killed(orphan)
    successors = [a_shipper(a_spool(tmp_path, name), stream, tmp_path) for name in ("r1", "r2")]

    for successor in successors:
        successor.start()
    await until(lambda: is_folded(tmp_path, "orphan"))
    for successor in successors:
        await successor.stop()

    assert await raw_ids(stream) == [f"orphan#{n}" for n in range(1, 201)]
    assert LocalLogAccounting(tmp_path).read()["logged"] == 200


async def test_an_orphan_that_could_not_be_read_is_tried_again(tmp_path: Path, stream: RedisRequestLog) -> None:
    """What kept it from being read may pass: nothing answered is given up for it."""
    orphan = a_spool(tmp_path, "orphan")
    answer(orphan, 50)
    leave_as_killed(orphan)
    counters = tmp_path / "orphan" / "counters"
    sound = counters.read_bytes()
    counters.write_bytes(b"other" + sound[5:])
    successor = a_shipper(a_spool(tmp_path, "successor"), stream, tmp_path)
    successor.start()
    await until(lambda: has_set_aside(successor))

    counters.write_bytes(sound)
    await until(lambda: is_folded(tmp_path, "orphan"))
    await successor.stop()

    assert await raw_ids(stream) == [f"orphan#{n}" for n in range(1, 51)]


async def test_an_orphan_whose_files_were_deleted_holds_up_no_other_spool(tmp_path: Path) -> None:
    """It is set aside and told of once; taken over again, what is left of it goes out too."""
    for name in ("a-broken-one", "b-sound-one"):
        orphan = a_spool(tmp_path, name)
        answer(orphan, 200)
        leave_as_killed(orphan)
    spool = a_spool(tmp_path)
    with short_folder() as folder:
        async with a_stream(folder / "valkey.sock") as stream:
            shipper = a_shipper(spool, stream, tmp_path)
            shipper.start()
            await until(lambda: has_adopted(shipper, 2))
            max((tmp_path / "a-broken-one").glob("*.seg")).unlink()
            with running_valkey(folder):
                for name in ("a-broken-one", "b-sound-one"):
                    await until(lambda name=name: is_folded(tmp_path, name))  # type: ignore[misc]
                answer(spool, 20)
                assert await shipper.stop()

                arrived = Counter(each.partition("#")[0] for each in await raw_ids(stream))
    assert arrived["b-sound-one"] == 200
    assert arrived["r1"] == 20
    assert 100 < arrived["a-broken-one"] < 200
    assert {path.name for path in shipper._unusable} == {"a-broken-one"}


async def test_damaged_totals_keep_no_orphan_locked(tmp_path: Path, stream: RedisRequestLog) -> None:
    """Whether it was counted already cannot be told; it goes out once that can be."""
    orphan = a_spool(tmp_path, "dead")
    answer(orphan, 20)
    leave_as_killed(orphan)
    (tmp_path / "totals").write_bytes(b"damaged")
    shipper = a_shipper(a_spool(tmp_path), stream, tmp_path)
    shipper.start()
    await until(lambda: has_set_aside(shipper))
    assert {path.name for path in shipper._unusable} == {"totals"}

    (tmp_path / "totals").unlink()
    await until(lambda: is_folded(tmp_path, "dead"))

    assert await shipper.stop()
    assert len(await raw_ids(stream)) == 20


async def has_set_aside(shipper: Shipper) -> bool:
    return bool(shipper._unusable)


async def has_adopted(shipper: Shipper, count: int) -> bool:
    return len(shipper._orphans) == count
