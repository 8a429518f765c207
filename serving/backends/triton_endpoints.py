"""Several Triton servers with the same model: which to ask, and which not to.

A Triton whose Python stub has died still says READY, so readiness is not asked: each endpoint has a breaker, and what
judges it is a golden example, sent again and again. Errors of traffic only hasten the next probe, since they may be the
requests' fault; a lost connection opens the breaker at once. An open breaker closes when its probe succeeds; until then
the pauses between probes grow, so that a server which is gone costs next to nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from serving.backends.triton_client import TritonClient
from serving.backends.triton_errors import EndpointLost
from serving.protocol.errors import ErrorKind, ServingError

Probe = Callable[[TritonClient], Awaitable[str | None]]
"""Ask the server the golden example; None when its answer is right, else what is wrong. Raises what a call raises."""
Repair = Callable[[TritonClient], Awaitable[None]]
"""Try to mend the model of a server that is there but answers wrongly."""

REPAIR_AFTER: Final = 2
"""Probes in a row that fail before a repair, and again before the next one."""
MAX_PAUSE_S: Final = 30.0
"""Longest pause between probes of a server that goes on failing, unless its period is longer: a server that is back
gets requests after this time at the latest."""
#: Shortest pause between probes: traffic that fails at a server's every request must not have it probed as often.
_LEAST_PAUSE_S: Final = 0.1
_log = logging.getLogger(__name__)


def pause_s(period_s: float, failed_probes: int) -> float:
    """Return how long to wait for the next probe, by how many have failed in a row: doubling, up to `MAX_PAUSE_S`."""
    doubled: float = period_s * 2.0 ** min(failed_probes, 20)
    return min(doubled, max(period_s, MAX_PAUSE_S))


class Endpoint:
    """One server with its breaker."""

    def __init__(self, client: TritonClient) -> None:
        self.client = client
        self.in_flight = 0
        self.trouble: str | None = None
        """Why the breaker is open; None while it is closed."""
        self.failed_probes = 0
        self._suspected = asyncio.Event()

    def suspect(self) -> None:
        """Have the endpoint probed now."""
        self._suspected.set()

    def open(self, reason: str) -> None:
        """Send it no requests until a probe succeeds."""
        if self.trouble is None:
            _log.warning("Triton at %s gets no requests: %s", self.client.address.netloc, reason)
        self.trouble = reason

    def close(self) -> None:
        """Send it requests again."""
        if self.trouble is not None:
            _log.warning("Triton at %s answers rightly again", self.client.address.netloc)
        self.trouble = None
        self.failed_probes = 0

    async def wait(self, seconds: float) -> None:
        """Pause until it is suspected, at most for so long."""
        await asyncio.sleep(min(seconds, _LEAST_PAUSE_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._suspected.wait()
        self._suspected.clear()


class Endpoints:
    """The servers of one version, watched while it is served. Lives on one event loop."""

    def __init__(
        self, clients: Sequence[TritonClient], probe: Probe, repair: Repair | None, *, period_s: float
    ) -> None:
        self._endpoints = [Endpoint(client) for client in clients]
        self._probe = probe
        self._repair = repair
        self._period_s = period_s
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = 0

    def start(self) -> None:
        """Begin to probe."""
        self._tasks = [asyncio.create_task(self._watch(each), name="triton-probe") for each in self._endpoints]

    async def close(self) -> None:
        """Stop probing and close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(each.client.close() for each in self._endpoints))

    def troubles(self) -> Mapping[str, str | None]:
        """Say of each server, by `host:port`, why it gets no requests; None for one that does."""
        return {each.client.address.netloc: each.trouble for each in self._endpoints}

    def choose(self, *, other_than: Endpoint | None = None) -> Endpoint:
        """Choose the endpoint with the fewest requests in flight; equals take turns.

        Raises:
            ServingError: UNAVAILABLE, with the reason of each breaker.
        """
        usable = [each for each in self._endpoints if each.trouble is None and each is not other_than]
        if not usable:
            reasons = "; ".join(
                f"{each.client.address.netloc}: {each.trouble}" for each in self._endpoints if each.trouble
            )
            raise ServingError(ErrorKind.UNAVAILABLE, f"no Triton can answer now: {reasons or 'the only one is lost'}")
        self._turn += 1
        offset = self._turn % len(usable)
        return min(usable[offset:] + usable[:offset], key=lambda each: each.in_flight)

    async def _watch(self, endpoint: Endpoint) -> None:
        while True:
            await endpoint.wait(pause_s(self._period_s, endpoint.failed_probes))
            is_there, reason = await self._ask(endpoint)
            if reason is None:
                endpoint.close()
                continue
            endpoint.open(reason)
            endpoint.failed_probes += 1
            if self._repair is not None and is_there and endpoint.failed_probes % REPAIR_AFTER == 0:
                with contextlib.suppress(ServingError):  # the next probe tells
                    await self._repair(endpoint.client)

    async def _ask(self, endpoint: Endpoint) -> tuple[bool, str | None]:
        """Probe a server: whether it is there at all, and what is wrong."""
        try:
            return True, await self._probe(endpoint.client)
        except EndpointLost as error:
            return False, str(error)
        except ServingError as error:
            # An overloaded server is a healthy one.
            return True, None if error.kind is ErrorKind.OVERLOADED else str(error)
        except Exception as error:  # noqa: BLE001 - a watch that ends watches nothing
            _log.exception("A probe of Triton at %s failed", endpoint.client.address.netloc)
            return True, f"{type(error).__name__}: {error}"
