"""Shadow calls: a sample of the requests, mirrored under a budget of their own, compared and never waited for.

A shadow starts after its primary's answer has left. It has its own connections, so it takes no credit from primaries;
its own deadline; a bound on how many are in flight, past which new ones are dropped and counted; and a breaker that
stops mirroring to a version that fails again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

from router.analysis.agreement import agrees
from router.gateway.call import Call
from router.gateway.dispatch import Dispatcher
from router.gateway.meters import Meters
from router.gateway.pool import VersionPool
from router.policy.decision import Decision
from router.policy.document import ShadowRule
from serving.protocol.errors import ServingError
from serving.protocol.packing import unpack_tensors

#: Failures in a row that open the breaker, and how long it stays open.
BREAKER_FAILURES: Final = 20
BREAKER_OPEN_S: Final = 5.0
#: Answers larger than this are not compared on the router's loop.
COMPARE_BELOW_BYTES: Final = 64 * 1024


class ShadowLane:
    """One shadowed version: its budget, its breaker, and the door where its answers end."""

    def __init__(self, model: str, version: int, meters: Meters, now: Callable[[], float]) -> None:
        self._model = model
        self._version = version
        self._meters = meters
        self._now = now
        self._in_flight = 0
        self._failures = 0
        self._open_until = 0.0
        self._primaries: dict[str, Call] = {}

    def __repr__(self) -> str:
        state = "open" if self._now() < self._open_until else "closed"
        return f"<ShadowLane {self._model}/{self._version} {self._in_flight} in flight, breaker {state}>"

    def admit(self, primary: Call, rule: ShadowRule) -> bool:
        """Take a place in the budget, or count a drop."""
        if self._in_flight >= rule.max_in_flight or self._now() < self._open_until:
            self._meters.count_shadow_dropped(self._model, self._version)
            return False
        self._in_flight += 1
        self._primaries[primary.id] = primary
        return True

    def answer(self, call: Call) -> None:
        """Door: nothing to encode."""

    def release(self, call: Call) -> None:
        """Door: the shadow's way ends here."""
        self._in_flight -= 1
        primary = self._primaries.pop(call.primary_id)
        if call.error is not None:
            self._failures += 1
            if self._failures >= BREAKER_FAILURES:
                self._failures, self._open_until = 0, self._now() + BREAKER_OPEN_S
            return
        self._failures = 0
        if primary.error is None and max(len(primary.outputs), len(call.outputs)) <= COMPARE_BELOW_BYTES:
            self._compare(primary, call)

    def _compare(self, primary: Call, call: Call) -> None:
        try:
            same = agrees(unpack_tensors(primary.outputs), unpack_tensors(call.outputs))
        except ServingError:
            same = False
        self._meters.count_comparison(self._model, self._version, agrees=same)


class Shadows:
    """All shadowed versions of this router; `mirror` is what the dispatcher calls."""

    def __init__(
        self, dispatcher: Dispatcher, pool_of: Callable[[str, int], VersionPool], meters: Meters, incarnation: str
    ) -> None:
        self._dispatcher = dispatcher
        self._pool_of = pool_of
        self._meters = meters
        self._incarnation = incarnation
        self._numbers = count()
        self._lanes: dict[tuple[str, int], ShadowLane] = {}

    def mirror(self, primary: Call) -> None:
        """Send a primary's inputs to each shadow that its decision names."""
        assert primary.decision is not None
        for rule in primary.decision.shadows:
            key = (primary.model, rule.version)
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = ShadowLane(*key, self._meters, self._dispatcher.now)
            if lane.admit(primary, rule):
                self._launch(primary, rule, lane)

    def _launch(self, primary: Call, rule: ShadowRule, lane: ShadowLane) -> None:
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
        assert primary.decision is not None
        call.primary_id = primary.id
        call.decision = Decision("", rule.version, "shadow", primary.decision.key)
        call.revision = primary.revision
        call.packed, call.extra = primary.packed, primary.extra
        self._dispatcher.launch(call, self._pool_of(primary.model, rule.version))
