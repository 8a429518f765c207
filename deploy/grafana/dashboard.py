"""Writes `dashboard.json` beside it: `python deploy/grafana/dashboard.py`. Panels are a table here, JSON there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_MODEL: Final = 'model=~"$model"'

#: Row, then its panels: title, unit, and PromQL by legend.
ROWS: Final[dict[str, list[tuple[str, str, dict[str, str]]]]] = {
    "Traffic": [
        ("Requests", "reqps", {
            "{{model}} {{variant}} v{{version}}":
                f"sum by (model, variant, version) (rate(shepherd_requests_total{{{_MODEL}}}[$__rate_interval]))",
        }),
        ("Failed requests", "reqps", {
            "{{model}} {{outcome}}":
                f'sum by (model, outcome) (rate(shepherd_requests_total{{{_MODEL},outcome!="ok"}}[$__rate_interval]))',
        }),
        ("Latency, 50th and 99th percentile", "s", {
            f"{{{{model}}}} {{{{variant}}}} p{int(quantile * 100)}":
                f"histogram_quantile({quantile}, sum by (model, variant, le) "
                f"(rate(shepherd_request_duration_seconds_bucket{{{_MODEL}}}[$__rate_interval])))"
            for quantile in (0.5, 0.99)
        }),
        ("Share by policy", "percentunit", {
            "{{model}} {{variant}} v{{version}}":
                f"max by (model, variant, version) (shepherd_variant_weight_ratio{{{_MODEL}}})",
        }),
    ],
    "Versions beside the primary": [
        ("Shadow comparisons that disagree", "percentunit", {
            "{{model}} v{{version}}":
                "sum by (model, version) "
                f'(rate(shepherd_shadow_comparisons_total{{{_MODEL},outcome="disagree"}}[5m])) / '
                f"sum by (model, version) (rate(shepherd_shadow_comparisons_total{{{_MODEL}}}[5m]))",
        }),
        ("Not mirrored, by reason", "reqps", {
            "{{model}} v{{version}} {{outcome}}":
                f"sum by (model, version, outcome) (rate(shepherd_shadow_dropped_total{{{_MODEL}}}[5m]))",
        }),
        ("NaN and infinity", "short", {
            "{{model}} v{{version}}":
                f"sum by (model, version) (rate(shepherd_nonfinite_outputs_total{{{_MODEL}}}[5m]))",
        }),
    ],
    "Replicas": [
        ("Replicas: there and wanted", "short", {
            "{{model}} v{{version}}": f"sum by (model, version) (shepherd_replicas{{{_MODEL}}})",
            "{{model}} v{{version}} wanted": f"sum by (model, version) (shepherd_replicas_wanted{{{_MODEL}}})",
        }),
        ("Waiting and in flight", "short", {
            "{{model}} v{{version}} queued": f"sum by (model, version) (shepherd_queued_requests{{{_MODEL}}})",
            "{{model}} v{{version}} in flight": f"sum by (model, version) (shepherd_requests_in_flight{{{_MODEL}}})",
        }),
        ("Rows per run, mean", "short", {
            "{{model}} v{{version}}":
                f"sum by (model, version) (rate(shepherd_batch_rows_sum{{{_MODEL}}}[5m])) / "
                f"sum by (model, version) (rate(shepherd_batch_rows_count{{{_MODEL}}}[5m]))",
        }),
    ],
    "Monitor": [
        ("Evidence of drift, 1 alarms", "short", {
            "{{model}} {{variant}} v{{version}}":
                f"max by (model, variant, version) (shepherd_drift_evidence_ratio{{{_MODEL}}})",
        }),
        ("Performance drop by labels", "percentunit", {
            "{{model}} {{variant}} v{{version}}":
                f"max by (model, variant, version) (shepherd_performance_drop_ratio{{{_MODEL}}})",
        }),
        ("Open incidents: 1 warning, 2 critical, 3 emergency", "short", {
            "{{model}} v{{version}}": f"max by (model, version) (shepherd_incident_severity{{{_MODEL}}})",
        }),
    ],
    "Request log": [
        ("Records by outcome", "reqps", {
            "{{outcome}}": f"sum by (outcome) (rate(shepherd_log_records_total{{{_MODEL}}}[$__rate_interval]))",
        }),
        ("Not shipped yet", "bytes", {"{{instance}}": "shepherd_log_spool_bytes"}),
    ],
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    """Build the dashboard."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row, members in ROWS.items():
        panels.append({"type": "row", "title": row, "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}})
        width = 24 // len(members)
        panels += [_panel(*member, x=place * width, y=top + 1, width=width) for place, member in enumerate(members)]
        top += 9
    return {
        "title": "Model Shepherd",
        "uid": "model-shepherd",
        "schemaVersion": 39,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [
            {"name": "source", "type": "datasource", "query": "prometheus"},
            {
                "name": "model", "type": "query", "datasource": _SOURCE, "includeAll": True, "multi": True,
                "query": "label_values(shepherd_requests_total, model)", "refresh": 2,
            },
        ]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }  # fmt: skip


def _panel(title: str, unit: str, targets: dict[str, str], *, x: int, y: int, width: int) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 8}}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend}
            for place, (legend, expression) in enumerate(targets.items())
        ],
    }


if __name__ == "__main__":
    Path(__file__).with_suffix(".json").write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
