"""Where the replicas of running versions are, and which of them have died."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from router.control.fleet import Fleet, Watch
from router.control.process_exits import has_died
from router.control.reconciler import VersionKey
from serving.channel.endpoint import Endpoint

_log = logging.getLogger(__name__)


class Replicas:
    """Follows the versions that it is told to."""

    def __init__(self, fleet: Fleet, on_change: Callable[[VersionKey, int], None]) -> None:
        """Take who is told of each change: of which version, and how many of its processes have died."""
        self._fleet = fleet
        self._on_change = on_change
        self._endpoints: dict[VersionKey, Sequence[Endpoint]] = {}
        self._watches: dict[VersionKey, Watch] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def of(self, key: VersionKey) -> Sequence[Endpoint]:
        """List a version's replicas; none of a version that is not followed."""
        return self._endpoints.get(key, ())

    def follow(self, keys: set[VersionKey]) -> None:
        """Follow exactly these versions."""
        for key in self._watches.keys() - keys:
            self._endpoints.pop(key, None)
            watch = self._watches.pop(key)
            self._closing.add(task := asyncio.create_task(watch.close()))
            task.add_done_callback(self._closing.discard)
        for key in keys - self._watches.keys():
            self._watches[key] = self._fleet.watch(*key, partial(self._located, key))

    async def close(self) -> None:
        """End all watches."""
        await asyncio.gather(*(watch.close() for watch in self._watches.values()))

    def _located(self, key: VersionKey, endpoints: Sequence[Endpoint]) -> None:
        there = {each.replica_id for each in endpoints}
        dead = [each for each in self._endpoints.get(key, ()) if each.replica_id not in there and has_died(each)]
        if dead:
            _log.warning("%d process(es) of %s version %s died", len(dead), *key)
        self._endpoints[key] = endpoints
        self._on_change(key, len(dead))
