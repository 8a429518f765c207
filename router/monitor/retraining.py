"""The request for a retraining, in the words of the one who will do it. Pure.

| format | where it is posted to |
|---|---|
| generic | anything; the payload itself |
| airflow | Airflow 3: `POST <airflow>/api/v2/dags/<dag>/dagRuns`; the payload as `conf`, the incident in `dag_run_id` |
| airflow2 | Airflow 2: `POST <airflow>/api/v1/dags/<dag>/dagRuns`; the same without `logical_date`, which it makes |
| prefect | `POST <prefect>/api/deployments/<id>/create_flow_run`; the payload as parameter `incident`, the incident in
  `idempotency_key` |

Airflow answers 409 for a `dag_run_id` that it knows, and Prefect returns the run of a key that it knows, so a request
that is repeated after a crash trains nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from router.monitor.events import timestamp
from router.monitor.incident import Transition
from router.requestlog.span import Span

RetrainFormat = Literal["generic", "airflow", "airflow2", "prefect"]
_CONFLICT = 409


def retrain_payload(
    transition: Transition, *, champion: int | None, lineage: Mapping[str, Any], span: Span
) -> dict[str, Any]:
    """Say what to train and why.

    Args:
        transition: of act `retrain`.
        champion: version that has most of the traffic now.
        lineage: where the failing version came from.
        span: what the log holds to train on.
    """
    incident = transition.incident
    return {
        "incident": incident.id,
        "model": incident.model,
        "version": incident.version,
        "champion": champion,
        "severity": incident.severity,
        "data_window": _window(span, incident.model, transition.at),
        "lineage": dict(lineage),
        "evidence": incident.evidence,
        "tags": {"shepherd.incident": incident.id},
    }


def retrain_body(payload: Mapping[str, Any], format: RetrainFormat) -> dict[str, Any]:  # noqa: A002 - its name
    """Put the payload into the body that the format asks for."""
    key = "model-shepherd-" + str(payload["incident"]).replace("/", "-")
    match format:
        case "airflow":
            return {"dag_run_id": key, "logical_date": None, "conf": dict(payload)}
        case "airflow2":
            return {"dag_run_id": key, "conf": dict(payload)}
        case "prefect":
            return {"name": key, "idempotency_key": key, "parameters": {"incident": dict(payload)}}
        case "generic":
            return dict(payload)


def is_accepted(status: int, format: RetrainFormat) -> bool:  # noqa: A002 - its name
    """Tell by the answer whether the request need not be repeated: also when an earlier one was taken."""
    return 200 <= status < 300 or (status == _CONFLICT and format in {"airflow", "airflow2"})


def _window(span: Span, model: str, at: float) -> dict[str, Any]:
    """Say which records there are, and how to get them with the labels that were known at the time of asking."""
    if span.first_at is None or span.last_at is None:
        return {"from": None, "to": None, "records": 0, "labels": span.labels, "export": None}
    since, as_of = (datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S") for when in (span.first_at, at + 1))
    return {
        "from": timestamp(span.first_at),
        "to": timestamp(span.last_at),
        "first_record": span.first_record,
        "last_record": span.last_record,
        "records": span.records,
        "labels": span.labels,
        "export": f"shepherd log export FOLDER --model {model} --since {since} --as-of {as_of}",
    }
