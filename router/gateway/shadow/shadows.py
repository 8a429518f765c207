"""Shadow calls: a sample of the requests, mirrored under a budget of their own, compared and never waited for.

A shadow starts after its primary's answer has left. It has its own connections, so it takes no credit from primaries;
its own deadline; a bound on how many are in flight, past which new ones are dropped and counted; and a breaker that
stops mirroring to a version that fails again and again.

Under the same budget, every `NOISE_EVERY`th request is sent to the primary's own version a second time. What differs
then is noise, and only a shadow that differs more often than that differs at all.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

from router.adapters.files.shadow_folder import ShadowFolder
from router.gateway.dispatch.call import Call
from router.gateway.dispatch.dispatcher import Dispatcher
from router.gateway.dispatch.meters import Meters
from router.gateway.dispatch.pool import VersionPool
from router.gateway.shadow.comparing import Comparer, Pair
from router.gateway.shadow.reporting import ShadowReporting
from router.policy.decision import Decision
from router.policy.document import ShadowRule
from router.requestlog.record import NOISE

#: Failures in a row that open the breaker, and how long it stays open.
BREAKER_FAILURES: Final = 20
BREAKER_OPEN_S: Final = 5.0
#: Of this many mirrored requests, one asks the primary's version again.
NOISE_EVERY: Final = 50


class ShadowLane:
    """One shadowed version: its budget, its breaker, and the door where its answers end."""

    def __init__(self, model: str, version: int, meters: Meters, comparer: Comparer, now: Callable[[], float]) -> None:
        self._key = (model, version)
        self._meters = meters
        self._comparer = comparer
        self._now = now
        self._in_flight = 0
        self._mirrored = 0
        self._failures = 0
        self._open_until = 0.0
        self._primaries: dict[str, Call] = {}
        """By the id of the call that is in flight."""

    def __repr__(self) -> str:
        state = "open" if self._now() < self._open_until else "closed"
        return f"<ShadowLane {self._key[0]}/{self._key[1]} {self._in_flight} in flight, breaker {state}>"

    def admit(self, rule: ShadowRule) -> bool:
        """Tell whether there is a place in the budget; if not, count a drop."""
        if self._in_flight < rule.max_in_flight and self._now() >= self._open_until:
            return True
        reason = "budget" if self._in_flight >= rule.max_in_flight else "breaker"
        self._meters.count_shadow_dropped(*self._key, reason)
        return False

    def wants_noise(self, rule: ShadowRule) -> bool:
        """Tell whether this request should also ask the primary again, for which a place must be left."""
        self._mirrored += 1
        return self._mirrored % NOISE_EVERY == 0 and self._in_flight < rule.max_in_flight

    def enter(self, call: Call, primary: Call) -> None:
        """Take a place in the budget."""
        self._in_flight += 1
        self._primaries[call.id] = primary

    def answer(self, call: Call) -> None:
        """Door: nothing to encode."""

    def release(self, call: Call) -> None:
        """Door: the shadow's way ends here, and its answer queues for the comparison."""
        self._in_flight -= 1
        primary = self._primaries.pop(call.id)
        assert call.decision is not None
        is_noise = call.decision.reason == NOISE
        if call.error is not None:
            if not is_noise:
                self._count_failure()
            return
        if not is_noise:
            self._failures = 0
        if primary.error is None and not self._comparer.offer(Pair(self._key, primary, call, is_noise)):
            self._meters.count_not_compared(*self._key)

    def _count_failure(self) -> None:
        self._failures += 1
        if self._failures >= BREAKER_FAILURES:
            self._failures, self._open_until = 0, self._now() + BREAKER_OPEN_S


class Shadows:
    """All shadowed versions of this router; `mirror` is what the dispatcher calls."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        pool_of: Callable[[str, int], VersionPool],
        meters: Meters,
        folder: ShadowFolder,
        incarnation: str,
    ) -> None:
        self._dispatcher = dispatcher
        self._pool_of = pool_of
        self._meters = meters
        self._comparer = Comparer(meters)
        self._reporting = ShadowReporting(self._comparer, folder, incarnation)
        self._incarnation = incarnation
        self._numbers = count()
        self._lanes: dict[tuple[str, int], ShadowLane] = {}

    def start(self) -> None:
        """Publish what comparisons show."""
        self._reporting.start()

    async def close(self) -> None:
        """Stop comparing, and publish for the last time."""
        await self._reporting.close()

    def mirror(self, primary: Call) -> None:
        """Send a primary's inputs to each shadow that its decision names."""
        decision = primary.decision
        assert decision is not None
        for rule in decision.shadows:
            key = (primary.model, rule.version)
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = ShadowLane(*key, self._meters, self._comparer, self._dispatcher.now)
            if lane.admit(rule):
                self._launch(primary, rule, lane, Decision("", rule.version, "shadow", decision.key))
                if primary.error is None and lane.wants_noise(rule):
                    self._launch(primary, rule, lane, Decision("", decision.version, NOISE, decision.key))

    def _launch(self, primary: Call, rule: ShadowRule, lane: ShadowLane, decision: Decision) -> None:
        now = self._dispatcher.now()
        call = Call(
            lane,
            id=f"{self._incarnation}-s{next(self._numbers):x}",
            protocol=primary.protocol,
            model=primary.model,
            request=primary.request,
            headers=primary.headers,
            started=now,
            deadline=now + rule.timeout_ms / 1e3,
        )
        call.primary_id = primary.id
        call.decision = decision
        call.revision = primary.revision
        call.packed, call.extra = primary.packed, primary.extra
        lane.enter(call, primary)
        self._dispatcher.launch(call, self._pool_of(primary.model, decision.version))
