"""The registry at work beside everything else that the control process does in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from router.control.catalogue import Catalogue
from router.settings import Settings
from serving.registry.artifact import VersionInfo
from serving.registry.registry import Registry

pytestmark = pytest.mark.asyncio

#: What `asyncio.to_thread` has in a Ray Serve replica that asks for no core.
RAYS_THREADS = 5


class SlowRegistry:
    """Takes for ever to register, until it may go on."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()

    def register(self, name: str, onnx: bytes | None, example: bytes | None, tags: Mapping[str, str]) -> int:
        self.may_go_on.wait()
        return 1

    def resolve(self, model: str, version: int) -> VersionInfo:
        return VersionInfo(model, version)


@pytest.fixture
def slow() -> Iterator[SlowRegistry]:
    registry = SlowRegistry()
    yield registry
    registry.may_go_on.set()  # also where a test fails: threads are waited for at exit


async def test_slow_transfers_keep_no_other_work_from_its_threads(tmp_path: Path, slow: SlowRegistry) -> None:
    """Neither what uses the default ones, such as a look at versions and counters, nor a question to the registry."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(RAYS_THREADS))
    catalogue = Catalogue(Settings(state_dir=tmp_path), lambda _: cast("Registry", cast("Any", slow)))
    transfers = [asyncio.create_task(catalogue.register("m", b"", example=None, tags={})) for _ in range(20)]
    await catalogue.open()
    async with asyncio.timeout(10):
        assert (await catalogue.resolve("m", 3)).version == 3
        assert await asyncio.to_thread(lambda: "looked")
    slow.may_go_on.set()
    assert await asyncio.gather(*transfers) == [1] * 20
    catalogue.close()


async def test_what_waits_for_a_thread_is_refused_when_the_catalogue_is_closed(
    tmp_path: Path, slow: SlowRegistry
) -> None:
    """What is under way ends by itself."""
    catalogue = Catalogue(Settings(state_dir=tmp_path), lambda _: cast("Registry", cast("Any", slow)))
    await catalogue.open()
    transfers = [asyncio.create_task(catalogue.register("m", b"", example=None, tags={})) for _ in range(20)]
    assert (await catalogue.resolve("m", 3)).version == 3
    catalogue.close()
    slow.may_go_on.set()
    outcomes = await asyncio.gather(*transfers, return_exceptions=True)
    assert {1} < {outcome if outcome == 1 else type(outcome) for outcome in outcomes}
