"""How many replicas a version should have, and why: a decision on measured load. Pure.

Four signals ask for replicas, and the largest demand wins: requests in flight against the target for each replica;
requests that wait; the share of time that the model runs; and the 95th percentile of latency against its objective.
Latency alone proves nothing: replicas help only when the ones that are there are busy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

#: Share of time busy to aim for, and the share above which there are too few replicas.
BUSY_TARGET: Final = 0.6
BUSY_HIGH: Final = 0.8
#: Share of time busy from which on high latency is taken for want of replicas.
BUSY_ENOUGH: Final = 0.5
#: Growth in one decision: doubling reaches ten times the load in four steps and overshoots at most once.
MAX_GROWTH: Final = 2.0


class ReplicaLoad(NamedTuple):
    """What one replica reports; see `Batcher.stats`."""

    in_flight: float
    queued: float
    busy_fraction: float
    p95_ms: float


class ScalingLimits(msgspec.Struct, frozen=True):
    """What a version asks for."""

    min_replicas: int
    max_replicas: int
    target_in_flight: float
    """Requests that each replica should hold, waiting ones included."""
    max_queued: float
    """Requests that may wait at each replica before there should be more of them."""
    objective_ms: float = 0.0
    """95th percentile of latency inside a replica to stay below; 0 for none."""


class Signal(StrEnum):
    """What asks for a number of replicas; label values of a metric."""

    IN_FLIGHT = "in_flight"
    QUEUE = "queue"
    BUSY = "busy"
    LATENCY = "latency"
    FIRST = "first_request"
    BOUND = "bound"


class Demand(NamedTuple):
    """How many replicas a signal asks for, and in which words."""

    replicas: int
    signal: Signal
    why: str


class Scaling(NamedTuple):
    """A decision."""

    replicas: int
    reason: str
    """In words for an operator: `2 → 4: queue 38 > 16`; empty when nothing changes."""
    signal: Signal | None = None
    """What decided; None when nothing changes."""


def decide_scaling(loads: Sequence[ReplicaLoad], current: int, limits: ScalingLimits, waiting: float = 0) -> Scaling:
    """Decide on the number of replicas.

    Args:
        loads: of the replicas that report; those that are starting do not.
        current: replicas that there are or will be.
        limits: of the version.
        waiting: requests that wait for a first replica.
    """
    if not loads:
        why = f"{waiting:g} requests wait for a first replica"
        return _bounded(Demand(max(1, current) if waiting else current, Signal.FIRST, why), current, limits)
    demand = max(_demands(loads, limits), key=lambda each: each.replicas)
    # Replicas that are starting have been asked for by the load that is still there: it must not ask for them twice.
    if len(loads) < demand.replicas <= current:
        demand = demand._replace(replicas=current)
    return _bounded(demand, current, limits)


def _demands(loads: Sequence[ReplicaLoad], limits: ScalingLimits) -> list[Demand]:
    """List what each signal asks for, growth bounded."""
    count = len(loads)
    ceiling = math.ceil(count * MAX_GROWTH)
    in_flight, queued = sum(load.in_flight for load in loads), sum(load.queued for load in loads)
    busy = sum(min(1.0, load.busy_fraction) for load in loads) / count
    p95_ms = max(load.p95_ms for load in loads)
    by_flight = math.ceil(in_flight / limits.target_in_flight)
    demands = [Demand(by_flight, Signal.IN_FLIGHT, f"in flight {in_flight:g}, {limits.target_in_flight:g} each")]
    if queued > count * limits.max_queued:
        words = f"queue {queued:g} > {count * limits.max_queued:g}"
        demands.append(Demand(math.ceil(queued / limits.max_queued), Signal.QUEUE, words))
    by_busy = math.ceil(count * busy / BUSY_TARGET - 1e-9)
    if busy > BUSY_HIGH:
        demands.append(Demand(by_busy, Signal.BUSY, f"busy {busy:.0%} > {BUSY_HIGH:.0%}"))
    else:
        demands.append(Demand(min(by_busy, count), Signal.BUSY, f"busy {busy:.0%} of the time"))
    if limits.objective_ms and p95_ms > limits.objective_ms and busy > BUSY_ENOUGH:
        words = f"p95 {p95_ms:.0f} ms > {limits.objective_ms:g} ms"
        demands.append(Demand(math.ceil(count * p95_ms / limits.objective_ms), Signal.LATENCY, words))
    return [demand._replace(replicas=min(demand.replicas, ceiling)) for demand in demands]


def _bounded(demand: Demand, current: int, limits: ScalingLimits) -> Scaling:
    wanted, signal, why = demand
    bounded = min(max(wanted, limits.min_replicas), limits.max_replicas)
    if bounded == current:
        return Scaling(current, "")
    if bounded < wanted:
        why = f"{why}, held at max_replicas"
    elif bounded > wanted:
        signal, why = Signal.BOUND, "min_replicas"
    return Scaling(bounded, f"{current} → {bounded}: {why}", signal)
