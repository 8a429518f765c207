"""Loops that a process cannot do without are begun again, however they end."""

from __future__ import annotations

import asyncio

import pytest

from router.control.supervision import Supervisor

pytestmark = pytest.mark.asyncio


class Loop:
    """Ends as it is told each time it is begun, and then stays."""

    def __init__(self, *ends: Exception | None) -> None:
        self._ends = list(ends)
        self.stays = asyncio.Event()
        self.was_cancelled = False

    async def run(self) -> None:
        if self._ends:
            end = self._ends.pop(0)
            if end is not None:
                raise end
            return
        self.stays.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


async def test_a_loop_that_fails_or_returns_is_begun_again_and_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """By its name and with the reason; the others go on."""
    supervisor, failing, steady = Supervisor(first_pause_s=0.001), Loop(OSError("disk full"), None), Loop()
    supervisor.run("follow-policies", failing.run)
    supervisor.run("reconcile", steady.run)
    async with asyncio.timeout(10):
        await failing.stays.wait()
        await steady.stays.wait()
    assert "follow-policies has failed" in caplog.text
    assert "disk full" in caplog.text
    assert "follow-policies has ended" in caplog.text
    assert "reconcile" not in caplog.text
    await supervisor.close()
    assert (failing.was_cancelled, steady.was_cancelled) == (True, True)
