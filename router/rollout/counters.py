"""Reads a model's counters out of a node's merged metrics. Pure."""

from __future__ import annotations

from collections import defaultdict

from router.rollout.evidence import ArmCounters, Counters
from serving.telemetry import catalog
from serving.telemetry.metric import CounterMetric
from serving.telemetry.snapshot import Distribution, Snapshot

_Outcomes = dict[tuple[str, int], dict[str, int]]


def read_counters(snapshot: Snapshot, model: str) -> Counters:
    """Gather what concerns one model; protocols are added up."""
    outcomes = _outcomes(snapshot, catalog.REQUESTS, model)
    directed = _outcomes(snapshot, catalog.DIRECTED, model)
    durations = _durations(snapshot, model)
    bounds = catalog.REQUEST_DURATION.bounds
    empty = Distribution((0,) * (len(bounds) + 1), 0.0)
    return Counters(
        arms=tuple(
            ArmCounters(*key, outcomes[key], directed.get(key, {}), bounds, durations.get(key, empty).counts)
            for key in sorted(outcomes)
        ),
        nonfinite=_nonfinite(snapshot, model),
        comparisons=_comparisons(snapshot, model),
        copies=_copies(snapshot, model),
    )


def _outcomes(snapshot: Snapshot, metric: CounterMetric, model: str) -> _Outcomes:
    found: _Outcomes = defaultdict(lambda: defaultdict(int))
    variant_at, version_at, outcome_at = (metric.labels.index(name) for name in ("variant", "version", "outcome"))
    for labels, value in snapshot.counters.get(metric.name, {}).items():
        if labels[0] == model and labels[version_at].isdecimal():
            found[labels[variant_at], int(labels[version_at])][labels[outcome_at]] += int(value)
    return {key: dict(by_outcome) for key, by_outcome in found.items()}


def _durations(snapshot: Snapshot, model: str) -> dict[tuple[str, int], Distribution]:
    found: dict[tuple[str, int], Distribution] = {}
    metric = catalog.REQUEST_DURATION
    variant_at, version_at = metric.labels.index("variant"), metric.labels.index("version")
    for labels, distribution in snapshot.histograms.get((metric.name, metric.bounds), {}).items():
        if labels[0] == model and labels[version_at].isdecimal():
            key = (labels[variant_at], int(labels[version_at]))
            found[key] = found[key] + distribution if key in found else distribution
    return found


def _nonfinite(snapshot: Snapshot, model: str) -> dict[int, int]:
    series = snapshot.counters.get(catalog.NONFINITE.name, {})
    return {int(version): int(value) for (name, version), value in series.items() if name == model}


def _comparisons(snapshot: Snapshot, model: str) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for (name, version, outcome), value in snapshot.counters.get(catalog.SHADOW_COMPARISONS.name, {}).items():
        if name == model and outcome in {"agree", "disagree"}:
            total, differ = found.get(int(version), (0, 0))
            found[int(version)] = (total + int(value), differ + (int(value) if outcome == "disagree" else 0))
    return found


def _copies(snapshot: Snapshot, model: str) -> dict[int, dict[str, int]]:
    """Gather what was sent to shadows; what their budgets kept back was not."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for (name, version, outcome), value in snapshot.counters.get(catalog.SHADOWS.name, {}).items():
        if name == model and outcome != "dropped":
            found[int(version)][outcome] = int(value)
    return dict(found)
