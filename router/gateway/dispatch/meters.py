"""A router's metric handles, looked up once per variant and outcome and then only added to."""

from __future__ import annotations

from typing import Final, NamedTuple

from router.analysis.answers import Gap
from router.gateway.dispatch.call import Call
from router.requestlog.record import NOISE
from serving.telemetry import catalog
from serving.telemetry.instruments import Counter, Histogram, Registry

#: Reasons of decisions that followed the weights; the others say who was sent somewhere on purpose.
_SPLIT: Final = frozenset({"split", "only"})


class Meter(NamedTuple):
    """What one answer touches."""

    requests: Counter
    duration: Histogram


def outcome_of(call: Call) -> str:
    """Name how a call ended: `ok`, or its error's kind in lower case."""
    return catalog.OK if call.error is None else call.error.kind.name.lower()


class Meters:
    """Counts calls by model, version, variant, protocol and outcome.

    Only what a policy or a pinned, existing version decided gets its own labels: a client cannot invent label values.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._primary: dict[tuple[str, int, str, str, str], Meter] = {}
        self._shadow: dict[tuple[str, int, str], Meter] = {}
        self._dropped: dict[tuple[str, int, str], tuple[Counter, Counter]] = {}

    def count(self, call: Call, seconds: float) -> None:
        """Count a settled call, shadow or primary."""
        decision = call.decision
        if decision and decision.reason == NOISE:
            labels = {"model": call.model, "version": str(decision.version)}
            self._registry.counter(catalog.SHADOW_NOISE_REQUESTS, **labels, outcome=outcome_of(call)).add()
            return
        model, version = (call.model, decision.version) if decision else (catalog.UNKNOWN, 0)
        if call.primary_id:
            key = (model, version, outcome_of(call))
            meter = self._shadow.get(key) or self._make_shadow(key)
        else:
            variant = decision.variant if decision else catalog.UNKNOWN
            full = (model, version, variant, call.protocol, catalog.OK if call.error is None else outcome_of(call))
            meter = self._primary.get(full) or self._make_primary(full)
            if decision and decision.reason not in _SPLIT:
                self._count_directed(full)
        meter.requests.value += 1
        meter.duration.observe(seconds)

    def _count_directed(self, key: tuple[str, int, str, str, str]) -> None:
        model, version, variant, _, outcome = key
        labels = {"model": model, "version": str(version), "variant": variant}
        self._registry.counter(catalog.DIRECTED, **labels, outcome=outcome).add()

    def count_retry(self, call: Call) -> None:
        """Count a call that goes to a second replica."""
        if call.decision:
            labels = {"model": call.model, "version": str(call.decision.version)}
            self._registry.counter(catalog.RETRIES, **labels).add()

    def count_shadow_dropped(self, model: str, version: int, reason: str) -> None:
        """Count a request that was not mirrored: `budget` or `breaker`."""
        key = (model, version, reason)
        for counter in self._dropped.get(key) or self._make_dropped(key):
            counter.value += 1

    def count_not_compared(self, model: str, version: int) -> None:
        """Count a shadow's answer for whose comparison there was no time."""
        self._registry.counter(catalog.SHADOW_DROPS, model=model, version=str(version), outcome="comparison").add()

    def count_comparison(self, model: str, version: int, gap: Gap, *, is_noise: bool) -> None:
        """Count an answer that was compared with the primary's: the shadow's, or the primary's own."""
        labels = {"model": model, "version": str(version)}
        metric = catalog.SHADOW_NOISE if is_noise else catalog.SHADOW_COMPARISONS
        self._registry.counter(metric, **labels, outcome="agree" if gap.agrees else "disagree").add()
        if not is_noise:
            for output in gap.outputs:
                counter, of = self._registry.counter, {**labels, "output": output.name}
                counter(catalog.SHADOW_ROWS, **of, outcome="flip").add(output.flips)
                counter(catalog.SHADOW_ROWS, **of, outcome="same").add(output.rows - output.flips)

    def _make_primary(self, key: tuple[str, int, str, str, str]) -> Meter:
        model, version, variant, protocol, outcome = key
        labels = {"model": model, "version": str(version) if version else catalog.UNKNOWN, "variant": variant}
        meter = self._primary[key] = Meter(
            self._registry.counter(catalog.REQUESTS, **labels, protocol=protocol, outcome=outcome),
            self._registry.histogram(catalog.REQUEST_DURATION, **labels, protocol=protocol),
        )
        return meter

    def _make_shadow(self, key: tuple[str, int, str]) -> Meter:
        model, version, outcome = key
        labels = {"model": model, "version": str(version)}
        meter = self._shadow[key] = Meter(
            self._registry.counter(catalog.SHADOWS, **labels, outcome=outcome),
            self._registry.histogram(catalog.SHADOW_DURATION, **labels),
        )
        return meter

    def _make_dropped(self, key: tuple[str, int, str]) -> tuple[Counter, Counter]:
        model, version, reason = key
        labels = {"model": model, "version": str(version)}
        counters = self._dropped[key] = (
            self._registry.counter(catalog.SHADOWS, **labels, outcome="dropped"),
            self._registry.counter(catalog.SHADOW_DROPS, **labels, outcome=reason),
        )
        return counters
