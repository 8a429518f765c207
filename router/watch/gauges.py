"""The monitor's book as metrics."""

from __future__ import annotations

from router.watch.monitor import Monitor
from serving.telemetry.catalog import (
    DRIFT_EVIDENCE,
    DRIFTING_COLUMNS,
    INCIDENT_SEVERITY,
    LABEL_SAMPLE,
    LABELLED,
    MONITORED,
    PERFORMANCE_DROP,
)
from serving.telemetry.instruments import Registry


def refresh(metrics: Registry, monitor: Monitor) -> None:
    """Set every gauge to what the book says; called before the metrics are published."""
    book = monitor.book
    for arm, state in book.arms.items():
        labels = {"model": arm.model, "version": str(arm.version), "variant": arm.name}
        metrics.gauge(MONITORED, **labels).set(state.answers)
        metrics.gauge(LABELLED, **labels).set(state.labelled)
        if state.retired:  # what it was judged to be stays in the book; an alert rule must not go on firing about it
            for metric in (DRIFT_EVIDENCE, DRIFTING_COLUMNS, PERFORMANCE_DROP):
                metrics.gauge(metric, **labels).clear()
            continue
        if state.verdict is not None:
            evidence = max((each.evidence for each in state.verdict.columns), default=0.0)
            metrics.gauge(DRIFT_EVIDENCE, **labels).set(evidence / state.verdict.level)
            metrics.gauge(DRIFTING_COLUMNS, **labels).set(len(state.verdict.alarmed))
        standard = book.standard(arm.model, arm.version)
        baseline = standard.watched if standard else None
        if baseline is not None and state.alarm.losses:
            drop = baseline.drop_of_loss(max(0.0, state.alarm.current_loss))
            metrics.gauge(PERFORMANCE_DROP, **labels).set(drop)
    for model in {model for model, _ in book.versions}:
        metrics.gauge(LABEL_SAMPLE, model=model).set(monitor.sampled.get(model, 1.0))
    for (model, version), known in book.versions.items():
        severity = int(known.ladder.severity) if known.ladder.incident else 0
        metrics.gauge(INCIDENT_SEVERITY, model=model, version=str(version)).set(severity)
