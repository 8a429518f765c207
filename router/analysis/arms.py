"""Reads an experiment of N arms: each against the control, corrected for their number, in plain words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from router.analysis.confidence_sequence import Interval, half_width, pairs
from router.analysis.counts import NOTHING, Counts, Histogram, Moments
from router.analysis.latency import compare_latency
from router.analysis.proportion import points, rate_difference
from router.analysis.verdict import Finding, Verdict

#: Outcomes that each arm must have before their means are compared: the sequence is asymptotic.
LEAST_OUTCOMES: Final = 30


@dataclass(frozen=True, slots=True)
class Arm:
    """What one variant has shown so far."""

    name: str
    errors: Counts
    latency: Histogram
    """Durations in seconds."""
    outcome: Moments = NOTHING
    """The values posted for its requests (a click, a margin, a score): more is better."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One arm against the control. PASS: the arm is better; FAIL: it is worse; INCONCLUSIVE: not known yet.

    Estimates are the arm's less the control's: of error rates, of outcome means; for latency the ratio of quantiles.
    """

    arm: str
    errors: Finding
    latency: Finding
    outcome: Finding


def compare_arms(control: Arm, others: Sequence[Arm], *, quantile: float = 0.95, alpha: float) -> tuple[Contrast, ...]:
    """Compare each arm with the control.

    Of each measure, the probability that *any* arm is ever called better or worse without being so is at most `alpha`,
    however often one looks: each arm has an equal part of it (Bonferroni). The measures share nothing: decide by the
    one chosen before the experiment, and read the others as guards.
    """
    part = alpha / max(1, len(others))
    return tuple(
        Contrast(
            arm.name,
            _errors(arm, control, part),
            compare_latency(arm.latency, control.latency, quantile=quantile, max_ratio=1.0, alpha=part, arm=arm.name),
            _outcome(arm, control, part),
        )
        for arm in others
    )


def rank(control: str, contrasts: Sequence[Contrast]) -> str:
    """Say in one sentence what is known: by the outcome where one is posted, else by the error rate."""
    by_outcome = any(contrast.outcome.n for contrast in contrasts)
    readings = {each.arm: each.outcome if by_outcome else each.errors for each in contrasts}
    better = {arm: finding for arm, finding in readings.items() if finding.verdict is Verdict.PASS}
    worse = [arm for arm, finding in readings.items() if finding.verdict is Verdict.FAIL]
    if better:
        return "; ".join(
            finding.words for finding in sorted(better.values(), key=lambda each: abs(each.estimate), reverse=True)
        )
    if worse and len(worse) == len(readings):
        return f"{control} is better than every other arm"
    return f"not yet: no arm is known to be better than {control}" + (f"; worse: {', '.join(worse)}" if worse else "")


def _errors(arm: Arm, control: Arm, alpha: float) -> Finding:
    n = arm.errors.total + control.errors.total
    if not arm.errors.total or not control.errors.total:
        return Finding(Verdict.INCONCLUSIVE, 0.0, -1.0, 1.0, n, "not yet: an arm has had no request")
    estimate = arm.errors.rate - control.errors.rate
    low, high = rate_difference(arm.errors, control.errors, alpha)
    verdict = _verdict(Interval(-high, -low))
    effect = f"{points(abs(estimate))} ± {points(_spread(verdict, -estimate, Interval(-high, -low)))} points of errors"
    return Finding(verdict, estimate, low, high, n, _words(verdict, arm.name, control.name, effect, -estimate))


def _outcome(arm: Arm, control: Arm, alpha: float) -> Finding:
    mine, theirs = arm.outcome, control.outcome
    n = mine.total + theirs.total
    if min(mine.total, theirs.total) < LEAST_OUTCOMES:
        words = f"not yet: fewer than {LEAST_OUTCOMES} outcomes posted for an arm"
        return Finding(Verdict.INCONCLUSIVE, 0.0, -inf, inf, n, words)
    estimate = mine.mean - theirs.mean
    # An arm that has seen but one value must not look certain: never less than the variance of both together.
    pooled = (mine + theirs).variance
    error_variance = max(mine.variance, pooled) / mine.total + max(theirs.variance, pooled) / theirs.total
    half = half_width(error_variance, pairs(mine.total, theirs.total), alpha)
    verdict = _verdict(Interval(estimate - half, estimate + half))
    words = _words(verdict, arm.name, control.name, f"{abs(estimate):.3g} ± {half:.2g} per outcome", estimate)
    return Finding(verdict, estimate, estimate - half, estimate + half, n, words)


def _verdict(gain: Interval) -> Verdict:
    """Judge an interval of which more is better."""
    if gain.low > 0:
        return Verdict.PASS
    return Verdict.FAIL if gain.high < 0 else Verdict.INCONCLUSIVE


def _spread(verdict: Verdict, gain: float, interval: Interval) -> float:
    """Distance to the end that decided; to the farther one where nothing is decided."""
    match verdict:
        case Verdict.PASS:
            return gain - interval.low
        case Verdict.FAIL:
            return interval.high - gain
        case Verdict.INCONCLUSIVE:
            return max(gain - interval.low, interval.high - gain)


def _words(verdict: Verdict, arm: str, control: str, effect: str, gain: float) -> str:
    sentence = f"{arm} {'better' if gain > 0 else 'worse'} than {control} by {effect}"
    return f"not yet: {sentence}" if verdict is Verdict.INCONCLUSIVE else sentence
