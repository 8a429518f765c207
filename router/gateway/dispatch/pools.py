"""All versions that this router can call: one pool each, and a second one for shadow calls where needed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from router.gateway.dispatch.policy_view import VersionKey
from router.gateway.dispatch.pool import PoolOwner, VersionPool
from serving.channel.endpoint import Endpoint


class Pools:
    """Makes pools on demand and feeds them from discovery."""

    def __init__(self, *, token: bytes) -> None:
        self._token = token
        self._endpoints: dict[VersionKey, Sequence[Endpoint]] = {}
        self._primary: dict[VersionKey, VersionPool] = {}
        self._shadow: dict[VersionKey, VersionPool] = {}
        self.owner: PoolOwner | None = None
        """The dispatcher; set once, before the first call."""

    def find(self, key: VersionKey) -> VersionPool | None:
        """Return the pool for primary calls, if there is one."""
        return self._primary.get(key)

    def items(self) -> Iterable[tuple[VersionKey, VersionPool]]:
        """Go through the pools for primary calls."""
        return self._primary.items()

    def primary(self, model: str, version: int) -> VersionPool:
        """Return the pool for primary calls to a version, made if need be."""
        pool = self._primary.get((model, version))
        return pool if pool is not None else self._make(self._primary, (model, version), shadow=False)

    def shadow(self, model: str, version: int) -> VersionPool:
        """Return the pool for shadow calls: own connections, so own credits."""
        pool = self._shadow.get((model, version))
        return pool if pool is not None else self._make(self._shadow, (model, version), shadow=True)

    def set_endpoints(self, key: VersionKey, endpoints: Sequence[Endpoint]) -> None:
        """Take what discovery says about a version."""
        self._endpoints[key] = endpoints
        self.primary(*key).set_endpoints(endpoints)
        if key in self._shadow:
            self._shadow[key].set_endpoints(endpoints)

    def starving(self) -> frozenset[VersionKey]:
        """Find versions whose calls wait, shadows too, and that have no replica: scaled to zero, or all just lost."""
        return frozenset(
            key
            for pools in (self._primary, self._shadow)
            for key, pool in pools.items()
            if pool.waiting and not pool.endpoints
        )

    def retain(self, wanted: frozenset[VersionKey]) -> list[VersionPool]:
        """Take out the pools of versions that nobody may call any more; the caller closes them."""
        gone = [
            pools.pop(key)
            for pools in (self._primary, self._shadow)
            for key in [key for key, pool in pools.items() if key not in wanted and not pool.waiting]
        ]
        for key in self._endpoints.keys() - wanted:
            del self._endpoints[key]
        return gone

    async def close(self) -> None:
        """Hang up everywhere."""
        await asyncio.gather(*(pool.close() for pool in [*self._primary.values(), *self._shadow.values()]))

    def _make(self, pools: dict[VersionKey, VersionPool], key: VersionKey, *, shadow: bool) -> VersionPool:
        assert self.owner is not None, "the dispatcher comes first"
        pool = pools[key] = VersionPool(self.owner, token=self._token, shadow=shadow)
        pool.set_endpoints(self._endpoints.get(key, ()))
        return pool
