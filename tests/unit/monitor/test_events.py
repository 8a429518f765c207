"""What incidents look like outside, field by field as those formats are published."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from router.monitor.events import alertmanager_alert, alertmanager_push, cloud_event
from router.monitor.incident import Incident, Transition
from router.monitor.retraining import RetrainFormat, retrain_body, retrain_payload
from router.performance.escalation import Act
from router.requestlog.span import Span

SOURCE = "http://127.0.0.1:8080"


def transition(act: Act, severity: str = "critical", **more: Any) -> Transition:
    resolved_at = 1e9 + 90 if act is Act.RESOLVE else None
    named: dict[str, Any] = {"id": "flights/1/1", "model": "flights", "version": 1, "severity": severity}
    incident = Incident(**named, opened_at=1e9, resolved_at=resolved_at)
    return Transition(act=act, at=1e9 + 90, incident=incident, **more)


def is_rfc3339(text: str) -> bool:
    return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text) is not None and bool(
        datetime.fromisoformat(text)
    )


@pytest.mark.parametrize("act", Act)
def test_a_cloud_event_has_the_attributes_of_the_specification(act: Act) -> None:
    """CloudEvents 1.0: non-empty `id` and `type`, `source` a URI, names in lower-case letters and digits."""
    event = msgspec.json.decode(msgspec.json.encode(cloud_event(transition(act), SOURCE)))

    assert event["specversion"] == "1.0"
    assert all(isinstance(event[name], str) and event[name] for name in ("id", "source", "type", "subject"))
    assert urlsplit(event["source"]).scheme == "http"
    assert is_rfc3339(event["time"])
    assert event["datacontenttype"] == "application/json"
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in event)
    assert event.keys() <= {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}


def test_each_event_of_a_source_has_an_id_of_its_own() -> None:
    """A rollback that is withheld for one reason and then for another is told twice."""
    events = [transition(act) for act in Act]
    events += [msgspec.structs.replace(transition(Act.WITHHOLD), at=1e9 + n, reason=f"reason {n}") for n in range(3)]

    ids = [cloud_event(each, SOURCE)["id"] for each in events]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("act", Act)
def test_an_alert_is_what_alertmanager_posts_to_its_receivers(act: Act) -> None:
    """Version 4 of the webhook's body: every field that its documentation lists, and no other."""
    body = msgspec.json.decode(msgspec.json.encode(alertmanager_alert(transition(act), SOURCE)))
    (alert,) = body["alerts"]

    assert body.keys() == {
        *("version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels"),
        *("commonAnnotations", "externalURL", "alerts"),
    }
    assert alert.keys() == {
        *("status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"),
    }
    assert (body["version"], body["status"]) == ("4", alert["status"])
    assert alert["status"] == ("resolved" if act is Act.RESOLVE else "firing")
    assert is_rfc3339(alert["startsAt"])
    assert is_rfc3339(alert["endsAt"])
    assert all(isinstance(value, str) for value in (alert["labels"] | alert["annotations"]).values())


@pytest.mark.parametrize("act", [Act.OPEN, Act.ESCALATE, Act.RESOLVE])
def test_what_is_pushed_to_an_alertmanager_ends_the_alerts_of_lower_severity(act: Act) -> None:
    """`postableAlerts` of its API v2: labels tell alerts apart, and only the highest fires."""
    alerts = alertmanager_push(transition(act, "emergency"), SOURCE)

    assert all(
        alert.keys() == {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
        and "alertname" in alert["labels"]
        for alert in alerts
    )
    ends = {alert["labels"]["severity"]: datetime.fromisoformat(alert["endsAt"]).timestamp() for alert in alerts}
    assert ends.keys() == {"warning", "critical", "emergency"}
    assert ends["warning"] == ends["critical"] == 1e9 + 90
    assert (ends["emergency"] > 1e9 + 86_400) == (act is not Act.RESOLVE)


@pytest.mark.parametrize(
    ("words", "required", "known"),
    [
        ("airflow", {"logical_date"}, {"dag_run_id", "logical_date", "conf"}),
        ("airflow2", {"dag_run_id"}, {"dag_run_id", "conf"}),
        ("prefect", {"idempotency_key"}, {"name", "idempotency_key", "parameters"}),
    ],
)
def test_a_request_for_retraining_has_the_fields_of_its_receivers_api(
    words: RetrainFormat, required: set[str], known: set[str]
) -> None:
    """Airflow 3 refuses fields that it does not know and wants `logical_date`, which Airflow 2 must not get as null."""
    body = retrain_body(retrain_payload(transition(Act.RETRAIN), champion=3, lineage={}, span=Span()), words)

    assert required <= body.keys() <= known


def test_a_request_for_retraining_says_what_to_train_on_and_how_to_get_it() -> None:
    """The records that are there, the command that joins them with what was known by then, champion and lineage."""
    span = Span(first_at=1e9 - 30.5, last_at=1e9, first_record="r#1", last_record="r#9", records=9, labels=4)
    payload = retrain_payload(transition(Act.RETRAIN), champion=3, lineage={"run_id": "a1"}, span=span)

    assert payload["data_window"] == {
        "from": "2001-09-09T01:46:09.500Z",
        "to": "2001-09-09T01:46:40.000Z",
        "first_record": "r#1",
        "last_record": "r#9",
        "records": 9,
        "labels": 4,
        "export": "shepherd log export FOLDER --model flights --since 2001-09-09T01:46:09 --as-of 2001-09-09T01:48:11",
    }
    assert (payload["champion"], payload["lineage"]) == (3, {"run_id": "a1"})
    assert payload["tags"] == {"shepherd.incident": "flights/1/1"}
