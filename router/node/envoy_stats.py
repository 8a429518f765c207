"""What Envoy counts, in the words of our metrics. Pure.

Envoy is told to keep these statistics and no others: each one costs it a little with every call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from serving.telemetry.catalog import (
    CONNECTIONS,
    DOOR_CALLS,
    DOOR_IN_FLIGHT,
    DOOR_LOST,
    DOOR_MEMORY,
    DOOR_RETRIES,
    DOOR_ROUTERS,
    DOOR_SENT,
)
from serving.telemetry.metric import CounterMetric, GaugeMetric

#: Envoy's names for where calls go: inferences, and all else.
INFER, OTHER = "infer", "grpc"
#: Calls that a process has not answered: what its end waits for.
IN_FLIGHT: Final = "http.grpc.downstream_rq_active"

Labels = Mapping[str, str]

_LOSSES: Final = {
    "upstream_cx_connect_fail": "unconnected",
    "upstream_cx_connect_timeout": "unconnected",
    "upstream_rq_rx_reset": "reset",
    "upstream_cx_none_healthy": "no_router",
}


def _counters() -> dict[str, tuple[CounterMetric, Labels]]:
    counters: dict[str, tuple[CounterMetric, Labels]] = {"http.grpc.downstream_rq_total": (DOOR_CALLS, {})}
    for cluster in (INFER, OTHER):
        counters[f"cluster.{cluster}.upstream_rq_total"] = (DOOR_SENT, {})
        counters[f"cluster.{cluster}.upstream_rq_retry"] = (DOOR_RETRIES, {})
        for name, outcome in _LOSSES.items():
            counters[f"cluster.{cluster}.{name}"] = (DOOR_LOST, {"outcome": outcome})
    return counters


COUNTERS: Final = _counters()
GAUGES: Final[dict[str, tuple[GaugeMetric, Labels]]] = {
    "http.grpc.downstream_cx_active": (CONNECTIONS, {"protocol": "grpc"}),
    IN_FLIGHT: (DOOR_IN_FLIGHT, {}),
    f"cluster.{INFER}.membership_healthy": (DOOR_ROUTERS, {}),
    "server.memory_physical_size": (DOOR_MEMORY, {}),
}
NAMES: Final = (*COUNTERS, *GAUGES)


def read_stats(document: bytes) -> dict[str, int]:
    """Read what the admin interface answers to `/stats?format=json`: values by name.

    Raises:
        msgspec.DecodeError: it is no such document.
    """
    found = msgspec.json.decode(document, type=_Stats).stats
    return {stat.name: stat.value for stat in found if stat.name and isinstance(stat.value, int)}


class _Stat(msgspec.Struct):
    name: str = ""
    value: int | msgspec.Raw | None = None


class _Stats(msgspec.Struct):
    stats: list[_Stat]
