"""What a shared host measures of itself: guests loaded and cold, cold starts, evictions, how long requests are held."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from serving.deployment.hosting.eviction import Why
from serving.deployment.hosting.host_files import GuestReport
from serving.telemetry import catalog
from serving.telemetry.instruments import Registry


class HostMeters:
    """Metric handles of one host's process."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        registry.gauge(catalog.HOSTS).set(1)
        self._loaded = registry.gauge(catalog.HOST_VERSIONS, outcome="loaded")
        self._cold = registry.gauge(catalog.HOST_VERSIONS, outcome="cold")

    def show(self, guests: Iterable[GuestReport]) -> None:
        """Show how many guests are loaded, and how many would have to be."""
        states = [guest.state for guest in guests]
        self._loaded.set(states.count("loaded"))
        self._cold.set(len(states) - states.count("loaded"))

    def holds(self, model: str, version: int) -> Callable[[float], None]:
        """Return who takes how long a guest's requests were held, in seconds."""
        return self._registry.histogram(catalog.HOLD_DURATION, model=model, version=str(version)).observe

    def count_cold_start(self, model: str, version: int, *, is_loaded: bool) -> None:
        """Count a load of a guest."""
        outcome = catalog.OK if is_loaded else "failed"
        self._registry.counter(catalog.COLD_STARTS, model=model, version=str(version), outcome=outcome).add()

    def count_eviction(self, why: Why) -> None:
        """Count a guest that went cold."""
        self._registry.counter(catalog.EVICTIONS, outcome=why).add()
