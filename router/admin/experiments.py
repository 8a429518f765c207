"""What shadows and experiments have shown, over HTTP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query

from router.admin.guard import GuardedRoute
from router.admin.problems import Problem
from router.admin.services import ModelName, Ports
from router.analysis.arms import Arm, Contrast, compare_arms, rank
from router.analysis.beta_mixture import proportion
from router.analysis.counts import NOTHING, Histogram, Moments
from router.analysis.latency import quantile_band, quantile_of
from router.analysis.sample_ratio import sample_ratio
from router.analysis.shadow_report import to_document
from router.analysis.verdict import Finding, Verdict
from router.policy.document import Policy
from router.ports import Reading
from serving.telemetry.catalog import REQUEST_DURATION

router = APIRouter(prefix="/admin/v1/models", tags=["models"], route_class=GuardedRoute)

#: One false alarm in a thousand experiments: an alarm stops the reading.
_MISMATCH_ALPHA = 0.001
_BETTER = {Verdict.PASS: "better", Verdict.FAIL: "worse", Verdict.INCONCLUSIVE: "not yet"}

Alpha = Annotated[float, Query(gt=0, lt=0.5, description="Probability of a wrong result, however often it is read.")]


@router.get("/{model}/shadow")
async def get_shadow(model: ModelName, ports: Ports, alpha: Alpha = 0.05) -> dict[str, Any]:
    """Compare each shadow's answers with the primary's, and with the primary's own noise."""
    reports = await ports.readings.shadow_reports(model)
    stored = await ports.store.get(model)
    if not reports and stored is None:
        raise Problem("not-found", f"{model} has no policy and was never shadowed")
    mirrored = {rule.version: rule.sample for rule in stored.policy.shadows} if stored else {}
    return {
        "model": model,
        "shadows": [
            {"version": version, "sample": mirrored.get(version, 0), **to_document(reports[version], alpha=alpha)}
            if version in reports
            else {"version": version, "sample": mirrored[version], "words": "not yet: no answer compared"}
            for version in sorted(reports.keys() | mirrored.keys())
        ],
    }


@router.get("/{model}/experiment")
async def get_experiment(
    model: ModelName,
    ports: Ports,
    control: Annotated[
        str, Query(description="Variant to compare with.  Default: the one with the largest share.")
    ] = "",
    alpha: Alpha = 0.05,
) -> dict[str, Any]:
    """Compare the variants of a model since its split last changed; results are valid however often they are read."""
    stored = await ports.store.get(model)
    if stored is None:
        raise Problem("not-found", f"{model} has no policy, so it has no variants")
    names = [variant.name for variant in stored.policy.variants]
    control = control or max(stored.policy.variants, key=lambda variant: variant.weight).name
    if control not in names:
        raise Problem("invalid-request", f"control: {model} has no variant {control}", field="control")
    reading = await ports.readings.reading(model)
    if reading is None:
        return {"model": model, "control": control, "since": None, "words": "not yet: the split has just changed"}
    return {"model": model, "since": reading.since} | read_experiment(
        stored.policy, reading, await ports.readings.outcomes(model), control=control, alpha=alpha
    )


def read_experiment(
    policy: Policy, reading: Reading, outcomes: Mapping[str, Moments], *, control: str, alpha: float
) -> dict[str, Any]:
    """Put arms, comparisons and the sample ratio together."""
    arms = {arm.name: arm for arm in _arms(policy, reading, outcomes)}
    contrasts = compare_arms(arms[control], [arm for name, arm in arms.items() if name != control], alpha=alpha)
    split = [variant for variant in policy.variants if variant.weight]
    ratio = sample_ratio(
        [arms[variant.name].errors.total for variant in split], [variant.weight for variant in split], _MISMATCH_ALPHA
    )
    mismatch = ratio.verdict is Verdict.FAIL
    return {
        "control": control,
        "alpha": alpha,
        "words": f"{ratio.words}: read nothing into the arms" if mismatch else rank(control, contrasts),
        "sample_ratio": {
            "alarm": mismatch,
            "words": ratio.words,
            # Requests of one key stay together, so few busy keys can unbalance a split that is kept.
            "unit": "request" if policy.sticky.by == "request_id" else "request, several to a key",
        },
        "arms": [_arm_document(arm, alpha) for arm in arms.values()],
        "comparisons": [_contrast_document(contrast) for contrast in contrasts],
    }


def _arms(policy: Policy, reading: Reading, outcomes: Mapping[str, Moments]) -> list[Arm]:
    empty = Histogram(REQUEST_DURATION.bounds, (0,) * (len(REQUEST_DURATION.bounds) + 1))
    arms = []
    for variant in policy.variants:
        counted = reading.counters.arm(variant.name, variant.version)
        arms.append(Arm(variant.name, counted.split, counted.latency or empty, outcomes.get(variant.name, NOTHING)))
    return arms


def _arm_document(arm: Arm, alpha: float) -> dict[str, Any]:
    low, high = proportion(arm.errors, alpha)
    band = quantile_band(arm.latency, 0.95, alpha)
    p95 = quantile_of(arm.latency, 0.95) if arm.latency.total else math.inf
    return {
        "name": arm.name,
        "requests": arm.errors.total,
        "errors": arm.errors.events,
        "error_rate": arm.errors.rate,
        "error_rate_low": low,
        "error_rate_high": high,
        "p95_s": _finite(p95),
        "p95_low_s": band.low,
        "p95_high_s": _finite(band.high),
        "outcomes": arm.outcome.total,
        "outcome_mean": arm.outcome.mean if arm.outcome.total else None,
    }


def _contrast_document(contrast: Contrast) -> dict[str, Any]:
    findings = {"errors": contrast.errors, "latency": contrast.latency, "outcome": contrast.outcome}
    return {"arm": contrast.arm} | {name: _finding_document(finding) for name, finding in findings.items()}


def _finding_document(finding: Finding) -> dict[str, Any]:
    return {
        "verdict": _BETTER[finding.verdict],
        "estimate": _finite(finding.estimate),
        "low": _finite(finding.low),
        "high": _finite(finding.high),
        "n": finding.n,
        "words": finding.words,
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity: what is not bounded yet is null."""
    return value if math.isfinite(value) else None
