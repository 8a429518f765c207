"""Who is told of incidents: where, from which severity on, and in whose words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from router.monitor.events import CLOUD_EVENTS_TYPE, alertmanager_alert, alertmanager_push, cloud_event
from router.monitor.incident import Transition
from router.performance.escalation import Act
from router.performance.severity import Severity
from router.settings import Settings

Words = Literal["event", "alert", "push", "retrain"]
Body = Mapping[str, Any] | Sequence[Mapping[str, Any]]

GROUPS: Final = "delivery:"
"""What the names of all receivers' groups begin with."""
_CHANGES: Final = frozenset({Act.OPEN, Act.ESCALATE, Act.RESOLVE})


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """One address that is told, and of what."""

    url: str
    words: Words
    at: Severity = Severity.WARNING
    """Least severity that its incidents must have reached."""

    @property
    def group(self) -> str:
        """Name what has been told to it; the address itself may hold a secret."""
        return GROUPS + hashlib.sha256(f"{self.words} {self.url}".encode()).hexdigest()[:16]

    def wants(self, transition: Transition) -> bool:
        """Tell whether it is to be told of a transition."""
        if self.words == "retrain":
            return transition.act is Act.RETRAIN
        if Severity.named(transition.incident.severity) < self.at:
            return False
        return self.words == "event" or transition.act in _CHANGES

    def message(self, transition: Transition, source: str) -> tuple[Body, str]:
        """Write what it is told, and the type of that; of retraining, `router.monitor.retraining` has the words."""
        match self.words:
            case "event":
                return cloud_event(transition, source), CLOUD_EVENTS_TYPE
            case "push":
                return alertmanager_push(transition, source), "application/json"
            case _:
                return alertmanager_alert(transition, source), "application/json"


def receivers_of(settings: Settings) -> Iterator[Receiver]:
    """List everybody that the settings name."""
    lists: list[tuple[Sequence[str], Words, str]] = [
        (settings.incident_webhooks, "event", settings.incident_webhooks_at),
        (settings.alert_webhooks, "alert", settings.alert_webhooks_at),
        (settings.alertmanager_webhooks, "push", settings.alertmanager_webhooks_at),
        ((settings.retrain_url,) if settings.retrain_url else (), "retrain", settings.retrain_at),
    ]
    for urls, words, at in lists:
        for url in urls:
            yield Receiver(url=url, words=words, at=Severity.named(at))
