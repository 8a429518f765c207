"""When a router that has just started asks for traffic: once it can answer for all models that have some.

After a restart policies are known before their versions have loaded. A balancer that sent requests at once would only
have them wait. A router that was ready once stays ready: a version that is lost later is its model's failure and not
the router's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from router.gateway.dispatch.policy_view import PolicyView, VersionKey
from router.gateway.dispatch.pool import VersionPool

_PERIOD_S: Final = 0.05
_log = logging.getLogger(__name__)


class RouterReadiness:
    """Whether this router should get traffic: waits, once, for the versions that have some."""

    def __init__(self, view: PolicyView, pools: Callable[[VersionKey], VersionPool | None]) -> None:
        self._view = view
        self._pools = pools
        self._is_ready = False

    async def run(self, timeout_s: float) -> None:
        """Return when every version with traffic is connected, asleep or known to have failed, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.reason():  # noqa: ASYNC110 - policies, pools and states may change
                    await asyncio.sleep(_PERIOD_S)
        except TimeoutError:
            _log.warning("Ready after %g s without all models: %s", timeout_s, self.reason())
        self._is_ready = True

    def reason(self) -> str | None:
        """Why this router should get no traffic, None when it should."""
        if not self._view.loaded:
            return "the policies have not been read yet"
        awaited = self._awaited() if not self._is_ready else ()
        self._is_ready = not awaited
        if self._is_ready:
            return None
        return "no replica yet of " + ", ".join(f"{model} version {version}" for model, version in awaited[:8])

    def _awaited(self) -> list[VersionKey]:
        """List versions with traffic that nobody answers for, and that are neither asleep nor known to have failed."""
        asleep = {
            (status.model, status.version)
            for status in self._view.statuses
            if status.state == "cold" or (status.state == "ready" and not (status.replicas or status.target_replicas))
        }
        return sorted(
            (model, variant.version)
            for model, served in self._view.models.items()
            for variant in served.stored.policy.variants
            if variant.weight
            and variant.version not in served.unavailable
            and (model, variant.version) not in asleep
            and not self._is_connected((model, variant.version))
        )

    def _is_connected(self, key: VersionKey) -> bool:
        pool = self._pools(key)
        return pool is not None and pool.connected
