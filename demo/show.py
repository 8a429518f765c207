"""The running demo: the replay, the questions to the gateway about itself, and the picture of both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.live import Live

from demo.flights import MODEL, Flights
from demo.gateway_counts import LogAccounting, ShadowRow, read_log, read_shadows
from demo.replay import Replay
from demo.tally import Tally
from demo.view import Scene, plain, render
from router.cli.client import AdminClient, GatewayRefusal, GatewayUnreachable
from router.cli.location import Node

#: Between two frames in a terminal, and between two lines elsewhere.
_FRAME_S: Final = 0.5
_LINE_S: Final = 2.0


class Show:
    """One replay of flights against one gateway, shown as it goes."""

    def __init__(self, console: Console, flights: Flights, node: Node, rate: float) -> None:
        self._console = console
        self._node = node
        self._rate = rate
        self._tally = Tally()
        address = urlsplit(node.http)
        assert address.hostname and address.port, "the gateway wrote where it listens"
        self._replay = Replay(flights, self._tally, host=address.hostname, port=address.port, model=MODEL, rate=rate)
        self._shadows: list[ShadowRow] = []
        self._log: LogAccounting | None = None

    async def run(self, admin: AdminClient, seconds: float | None, check: Callable[[], None]) -> None:
        """Go on for `seconds`, or until cancelled; `check` raises when the gateway is gone."""
        endless = (self._replay.run(), self._ask_forever(admin), self._show_forever(check))
        tasks = [asyncio.create_task(part) for part in endless]
        try:
            ended, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()  # none ends but by failing
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def flawless(self) -> bool:
        """Whether every request that fell due was answered with a prediction, and there was one."""
        return self._tally.total > 0 and not self._tally.errors and not self._tally.missed

    def conclude(self) -> None:
        """Say how it went."""
        tally = self._tally
        self._console.print(f"{tally.total} requests, {tally.errors} errors, {tally.missed} never sent")

    async def _show_forever(self, check: Callable[[], None]) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(_LINE_S)
                check()
                self._console.print(plain(self._scene(clock() - started)), soft_wrap=True, highlight=False)
        with Live(render(self._scene(0.0)), console=self._console, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(_FRAME_S)
                check()
                live.update(render(self._scene(clock() - started)), refresh=True)

    def _scene(self, elapsed_s: float) -> Scene:
        return Scene(
            model=MODEL,
            date=self._replay.date,
            rate=self._rate,
            elapsed_s=elapsed_s,
            variants=self._tally.rows(asyncio.get_running_loop().time()),
            missed=self._tally.missed,
            shadows=self._shadows,
            log=self._log,
            places=[
                ("predict", f"{self._node.http}/v2/models/{MODEL}/infer"),
                ("operate", f"{self._node.admin}/docs"),
                ("metrics", self._node.metrics),
            ],
        )

    async def _ask_forever(self, admin: AdminClient) -> None:
        """Read the log's accounting and the shadows' counters every second; a failed read leaves the last ones."""
        async with httpx.AsyncClient(trust_env=False, timeout=5.0) as http:
            while True:
                with contextlib.suppress(GatewayUnreachable, GatewayRefusal, httpx.HTTPError):
                    self._log = read_log(await asyncio.to_thread(admin.log))
                    scrape = await http.get(self._node.metrics)
                    self._shadows = read_shadows(scrape.raise_for_status().text, MODEL)
                await asyncio.sleep(1.0)
