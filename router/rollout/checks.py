"""Judges a plan's checks on the evidence of both arms. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from router.analysis.beta_mixture import proportion
from router.analysis.counts import Counts
from router.analysis.latency import compare_latency
from router.analysis.proportion import compare_error_rates
from router.analysis.sample_ratio import sample_ratio
from router.analysis.verdict import Finding, Verdict, judge
from router.policy.plan import AnyCheck, ErrorRate, Latency, ShadowAgreement
from router.rollout.evidence import ArmCounters, Judgement
from router.rollout.faults import EXCUSED_COPIES, LATE
from router.rollout.hard_failure import Suspicion, watch

#: Below this probability of seeing them by chance, the arms' numbers contradict their shares.
SAMPLE_RATIO_ALPHA = 0.001


def judge_checks(
    checks: Sequence[AnyCheck],
    canary: ArmCounters,
    control: ArmCounters,
    *,
    compared: tuple[int, int] = (0, 0),
    monitor: Mapping[AnyCheck, Judgement] = {},
) -> tuple[Judgement, ...]:
    """Judge each check.

    Args:
        checks: of the plan.
        canary: what the version under trial has answered since its first share of traffic.
        control: what the arm of the same size has answered in the same time.
        compared: the version's answers as a shadow that were compared, and how many of these disagreed.
        monitor: what the monitor's counts say, by check.
    """
    return tuple(_judge(check, canary, control, compared, monitor) for check in checks)


def overall(judgements: Sequence[Judgement]) -> Verdict:
    """Combine checks: a failure wins, then doubt; dry runs have no say, and no check at all is a pass."""
    verdicts = {judgement.verdict for judgement in judgements if not judgement.dry_run}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS


def judge_ratio(canary: ArmCounters, control: ArmCounters, shares: tuple[int, int]) -> Judgement | None:
    """Say when the arms' numbers of requests contradict their shares; None while they do not."""
    if not all(shares):
        return None
    finding = sample_ratio((canary.split.total, control.split.total), shares, SAMPLE_RATIO_ALPHA)
    return judgement_of("sample_ratio", finding) if finding.verdict is Verdict.FAIL else None


def judge_copies(copies: Mapping[str, int], reference: Counts) -> Judgement | None:
    """Say when a shadow's copies fail, or when most come too late to compare; None while they do neither.

    Args:
        copies: sent since the shadow began, by outcome.
        reference: answers of the version that serves in the same time, and its failures.
    """
    total = sum(copies.values())
    failed = sum(n for outcome, n in copies.items() if outcome not in EXCUSED_COPIES)
    if watch(Suspicion(), Counts(total, failed), reference).is_alarm:
        return Judgement("shadow_copies", Verdict.FAIL, f"{failed} of {total} copies of the traffic failed")
    late = copies.get(LATE, 0)
    if 2 * late <= total:
        return None
    words = f"not yet: {late} of {total} copies of the traffic got no answer within the shadow's timeout_ms"
    return Judgement("shadow_copies", Verdict.INCONCLUSIVE, words)


def _judge(
    check: AnyCheck,
    canary: ArmCounters,
    control: ArmCounters,
    compared: tuple[int, int],
    monitor: Mapping[AnyCheck, Judgement],
) -> Judgement:
    match check:
        case ErrorRate():
            finding = compare_error_rates(canary.split, control.split, margin=check.margin, alpha=check.alpha)
            return judgement_of(check.kind, finding, dry_run=check.dry_run)
        case Latency():
            return _judge_latency(check, canary, control)
        case ShadowAgreement():
            return _judge_agreement(check, Counts(*compared))
        case _:
            words = "not yet: the monitor has counted nothing of this rollout"
            return monitor.get(check) or Judgement(check.kind, Verdict.INCONCLUSIVE, words, dry_run=check.dry_run)


def _judge_latency(check: Latency, canary: ArmCounters, control: ArmCounters) -> Judgement:
    mine, theirs = canary.latency, control.latency
    if mine is None or theirs is None:
        words = "not yet: an arm has had no request"
        return Judgement(check.kind, Verdict.INCONCLUSIVE, words, dry_run=check.dry_run)
    finding = compare_latency(mine, theirs, quantile=check.quantile, max_ratio=check.max_ratio, alpha=check.alpha)
    return judgement_of(check.kind, finding, dry_run=check.dry_run)


def _judge_agreement(check: ShadowAgreement, compared: Counts) -> Judgement:
    """Hold the share of disagreements, by its confidence sequence, to what the check leaves room for."""
    interval = proportion(compared, check.alpha)
    verdict = judge(interval.low, interval.high, 1 - check.min_rate)
    agree = 1 - compared.rate
    words = f"{100 * agree:.1f} % of {compared.total} shadow answers agree, at least {100 * check.min_rate:g} % asked"
    prefix = "not yet: " if verdict is Verdict.INCONCLUSIVE else ""
    return Judgement(
        check.kind, verdict, prefix + words, agree, 1 - interval.high, 1 - interval.low, dry_run=check.dry_run
    )


def judgement_of(check: str, finding: Finding, *, dry_run: bool = False) -> Judgement:
    """Take a finding into a form that JSON can hold: an end without bound is absent."""
    low, high = (end if isfinite(end) else None for end in (finding.low, finding.high))
    estimate = finding.estimate if isfinite(finding.estimate) else 0.0
    return Judgement(check, finding.verdict, finding.words, estimate, low, high, dry_run)
