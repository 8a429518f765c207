"""A cancellation that a Redis client has swallowed ends a loop all the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.adapters.parquet.log import ParquetLog
from router.sink.follower import Follower
from router.sink.sources import Read
from serving.telemetry.instruments import Registry


class Swallowing:
    """A source whose first read takes a cancellation for the end of its own wait, as `asyncio.wait_for` of 3.11 may."""

    def __init__(self) -> None:
        self.is_reading = asyncio.Event()

    async def read(self, after: str) -> AsyncIterator[Read]:
        """Give nothing."""
        with contextlib.suppress(asyncio.CancelledError):
            self.is_reading.set()
            await asyncio.Event().wait()
        for nothing in list[Read]():
            yield nothing


@pytest.mark.asyncio
async def test_a_follower_ends_though_its_source_has_swallowed_the_cancellation(tmp_path: Path) -> None:
    """Or whoever closes it would wait for ever."""
    source, sink = Swallowing(), ParquetLog(tmp_path / "log")
    following = asyncio.create_task(Follower(source, sink, Registry("sink")).run())
    await source.is_reading.wait()

    following.cancel()

    async with asyncio.timeout(30):
        while not following.done():
            await asyncio.sleep(0.01)
    assert following.cancelled()
    sink.close()
