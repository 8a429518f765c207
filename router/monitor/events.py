"""What the outside is told of an incident: CloudEvents 1.0, Alertmanager's webhook body, Prometheus labels. Pure.

CloudEvents: https://github.com/cloudevents/spec, JSON format, structured mode. Alertmanager: the body that it posts to
webhook receivers, version 4, so that whatever receives its alerts receives ours; and the one that its own API takes
(openapi.yaml of its API v2, `postableAlerts`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from router.monitor.incident import Incident, Transition
from router.performance.severity import Severity

CLOUD_EVENTS_TYPE: Final = "application/cloudevents+json"
_NEVER: Final = "0001-01-01T00:00:00Z"
_FOR_LONG_S: Final = 365 * 86_400.0


def cloud_event(transition: Transition, source: str) -> dict[str, Any]:
    """Make a CloudEvent of a transition; `source` is the gateway's URL."""
    incident = transition.incident
    return {
        "specversion": "1.0",
        "id": transition.id,
        "source": source,
        "type": f"io.modelshepherd.incident.{transition.act}",
        "subject": f"{incident.model}/{incident.version}",
        "time": timestamp(transition.at),
        "datacontenttype": "application/json",
        "data": msgspec.to_builtins(transition),
    }


def alertmanager_alert(transition: Transition, source: str) -> dict[str, Any]:
    """Make the body that Alertmanager would post for this incident."""
    incident = transition.incident
    status = "firing" if incident.resolved_at is None else "resolved"
    labels = labels_of(incident)
    annotations = {"summary": summary(incident), "incident": incident.id}
    return {
        "version": "4",
        "groupKey": incident.id,
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "model-shepherd",
        "groupLabels": {"incident": incident.id},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": source,
        "alerts": [
            {
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": timestamp(incident.opened_at),
                "endsAt": _NEVER if incident.resolved_at is None else timestamp(incident.resolved_at),
                "generatorURL": f"{source}/admin/v1/incidents",
                "fingerprint": incident.id,
            }
        ],
    }


def alertmanager_push(transition: Transition, source: str) -> list[dict[str, Any]]:
    """Make the body of `POST /api/v2/alerts` of an Alertmanager.

    An alert is told apart by its labels, and severity is one: an escalation ends those of lower severity. What fires
    gets an end far away, or Alertmanager would take it for resolved after `resolve_timeout`.
    """
    incident = transition.incident
    now = Severity.named(incident.severity)
    alerts = []
    for severity in (each for each in Severity if Severity.OK < each <= now):
        ends_at = incident.resolved_at if severity is now else transition.at
        alerts.append(
            {
                "labels": {**labels_of(incident), "severity": severity.word},
                "annotations": {"summary": summary(incident), "incident": incident.id},
                "startsAt": timestamp(incident.opened_at),
                "endsAt": timestamp(transition.at + _FOR_LONG_S if ends_at is None else ends_at),
                "generatorURL": f"{source}/admin/v1/incidents",
            }
        )
    return alerts


def labels_of(incident: Incident) -> dict[str, str]:
    """Name an incident as Prometheus would."""
    return {
        "alertname": "ModelShepherdIncident",
        "model": incident.model,
        "version": str(incident.version),
        "severity": incident.severity,
    }


def summary(incident: Incident) -> str:
    """Say in one line what an incident is about."""
    drifting = sorted({column for arm in incident.evidence.values() for column in arm.get("drift", ())})
    faults = sorted({fault["fault"] for arm in incident.evidence.values() for fault in arm.get("faults", ())})
    drops = [
        f"{arm['performance']['watched']} down {arm['performance']['drop']:.1%}"
        for arm in incident.evidence.values()
        if "performance" in arm and arm["performance"].get("drop") is not None
    ]
    parts = [
        f"drift of {', '.join(drifting)}" if drifting else "",
        f"faults: {', '.join(faults)}" if faults else "",
        *drops,
        *[
            f"estimated without labels: down {arm['estimate']['drop']:.1%}"
            for arm in incident.evidence.values()
            if "estimate" in arm and arm["estimate"].get("drop") is not None
        ],
    ]
    about = "; ".join(part for part in parts if part) or "no evidence at present"
    what = f"resolved, {incident.resolution}" if incident.resolution else about
    return f"{incident.model} version {incident.version}, {incident.severity}: {what}"


def timestamp(at: float) -> str:
    """Write Unix seconds as RFC 3339, UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
