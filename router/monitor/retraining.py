"""The request for a retraining, in the words of the one who will do it. Pure.

| format | where it is posted to |
|---|---|
| generic | anything; the payload itself |
| airflow | `POST <airflow>/api/v2/dags/<dag>/dagRuns`; the payload as `conf`, the incident as `dag_run_id` |
| prefect | `POST <prefect>/api/deployments/<id>/create_flow_run`; the payload as `parameters`, the incident as
  `idempotency_key` |

Airflow refuses a `dag_run_id` that it knows, and Prefect returns the run of a key that it knows, so a request that is
repeated after a crash trains nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from router.monitor.events import timestamp
from router.monitor.incident import Transition

RetrainFormat = Literal["generic", "airflow", "prefect"]


def retrain_payload(
    transition: Transition, *, champion: int | None, lineage: Mapping[str, Any], window_s: float
) -> dict[str, Any]:
    """Say what to train and why.

    Args:
        transition: of act `retrain`.
        champion: version that has most of the traffic now.
        lineage: where the failing version came from.
        window_s: how far before the incident the log's rows are worth training on.
    """
    incident = transition.incident
    return {
        "incident": incident.id,
        "model": incident.model,
        "version": incident.version,
        "champion": champion,
        "severity": incident.severity,
        "data_window": {"from": timestamp(incident.opened_at - window_s), "to": timestamp(transition.at)},
        "lineage": dict(lineage),
        "evidence": incident.evidence,
        "tags": {"model_shepherd.incident": incident.id},
    }


def retrain_body(payload: Mapping[str, Any], format: RetrainFormat) -> dict[str, Any]:  # noqa: A002 - its name
    """Put the payload into the body that the format asks for."""
    key = "model-shepherd-" + str(payload["incident"]).replace("/", "-")
    match format:
        case "airflow":
            return {"dag_run_id": key, "logical_date": None, "conf": dict(payload)}
        case "prefect":
            return {"name": key, "idempotency_key": key, "parameters": {"incident": dict(payload)}}
        case "generic":
            return dict(payload)
