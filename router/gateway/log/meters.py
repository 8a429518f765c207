"""The request log's counters as metrics: read before each snapshot, nothing per request."""

from __future__ import annotations

from router.gateway.log.shipper import Shipper
from router.requestlog.counters import LogCounters
from serving.telemetry import catalog
from serving.telemetry.instruments import Registry


class LogMeters:
    """Follows one router's counters; of what clients were answered, as the totals of `/admin/v1/log`."""

    def __init__(self, registry: Registry, counters: LogCounters, shipper: Shipper) -> None:
        self._registry = registry
        self._counters = counters
        self._shipper = shipper

    def refresh(self) -> None:
        """Bring the metrics up to date; the counters can be read until and after the shipper's stop."""
        counter = self._registry.counter
        logged = 0
        for model, tallies in self._counters.tallies().items():
            tally = tallies.primary
            logged += tally.logged + tallies.shadow.logged
            counter(catalog.LOG_REQUESTS, model=model).raise_to(tally.requests)
            counter(catalog.LOG_RECORDS, model=model, outcome="logged").raise_to(tally.logged)
            counter(catalog.LOG_RECORDS, model=model, outcome="sampled_out").raise_to(tally.sampled_out)
            for reason, count in tally.dropped.items():
                counter(catalog.LOG_RECORDS, model=model, outcome=f"dropped_{reason}").raise_to(count)
        waiting_bytes = self._shipper.waiting_bytes
        self._registry.gauge(catalog.LOG_SPOOL).set(waiting_bytes)
        if not waiting_bytes:  # the shipper counts bytes; only now are they known to be so many records
            counter(catalog.LOG_SHIPPED).raise_to(logged)
