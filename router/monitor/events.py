"""What the outside is told of an incident: CloudEvents 1.0, Alertmanager's webhook body, Prometheus labels. Pure.

CloudEvents: https://github.com/cloudevents/spec, JSON format, structured mode. Alertmanager: the body that it posts to
webhook receivers, version 4, so that whatever receives its alerts receives ours.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from router.monitor.incident import Incident, Transition

CLOUD_EVENTS_TYPE: Final = "application/cloudevents+json"
_NEVER: Final = "0001-01-01T00:00:00Z"


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
    ]
    what = "; ".join(part for part in parts if part) or "nothing stands against it"
    return f"{incident.model} version {incident.version}, {incident.severity}: {what}"


def timestamp(at: float) -> str:
    """Write Unix seconds as RFC 3339, UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
