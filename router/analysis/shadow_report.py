"""What comparing a shadow with its primary has shown so far: a value that routers count and readers add up. Pure.

Adding is commutative and associative, so the reports of any routers, living or gone, give the report of all.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from router.analysis.answers import Gap, OutputGap
from router.analysis.beta_mixture import proportion
from router.analysis.counts import Counts, Moments
from router.analysis.proportion import compare_error_rates, points
from router.analysis.verdict import Finding

#: Worst examples kept of each shadow.
MOST_EXAMPLES: Final = 20


class Example(msgspec.Struct, frozen=True, order=True):
    """A request whose answers lie far apart; compared by distance first."""

    distance: float
    """Label flips count 1 each, then the largest difference, squeezed below 1."""
    request_id: str
    """Of the primary: its record in the request log has the inputs."""
    shadow_id: str
    output: str
    primary: str
    """The values of the row that differs most, shortened."""
    shadow: str


class Comparison(msgspec.Struct, frozen=True):
    """Sums over the answers compared."""

    answers: int = 0
    disagreements: int = 0
    malformed: int = 0
    """Among the disagreements: other outputs, datatypes or shapes."""
    outputs: dict[str, OutputGap] = {}
    """By name; `row` says nothing here."""

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.answers + other.answers,
            self.disagreements + other.disagreements,
            self.malformed + other.malformed,
            _added(self.outputs, other.outputs),
        )


class ShadowReport(msgspec.Struct, frozen=True):
    """All that is known of one shadowed version."""

    shadow: Comparison = Comparison()
    noise: Comparison = Comparison()
    """The primary against itself, asked twice: what even the same version would show."""
    examples: tuple[Example, ...] = ()
    """The worst, descending."""

    def __add__(self, other: ShadowReport) -> ShadowReport:
        return ShadowReport(
            self.shadow + other.shadow, self.noise + other.noise, worst([*self.examples, *other.examples])
        )


def comparison_of(gap: Gap) -> Comparison:
    """Make a sum of one."""
    return Comparison(1, int(not gap.agrees), int(bool(gap.malformed)), {each.name: each for each in gap.outputs})


def distance_of(gap: Gap) -> float:
    """Tell by how much two answers differ, to choose examples: larger is worse, 0 is equal."""
    if gap.malformed:
        return 1e9
    largest = max((each.largest for each in gap.outputs), default=0.0)
    return sum(each.flips for each in gap.outputs) + largest / (1 + largest)


def worst(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Keep the farthest, each once."""
    return tuple(heapq.nlargest(MOST_EXAMPLES, set(examples)))


def excess(report: ShadowReport, *, alpha: float) -> Finding:
    """Compare how often the shadow disagrees with how often the primary disagrees with itself; safe under peeking."""
    shadow = Counts(report.shadow.answers, report.shadow.disagreements)
    noise = Counts(report.noise.answers, report.noise.disagreements)
    found = compare_error_rates(shadow, noise, margin=0.0, alpha=alpha)
    if not noise.total:
        return replace(found, words="not yet: the primary has not been compared with itself")
    return replace(found, words=found.words.replace("canary", "shadow", 1))


def to_document(report: ShadowReport, *, alpha: float = 0.05) -> dict[str, Any]:
    """Show a report to people and programs."""
    above_noise = excess(report, alpha=alpha)
    return {
        "words": words(report, alpha=alpha),
        "shadow": _comparison_document(report.shadow, alpha),
        "noise_floor": _comparison_document(report.noise, alpha),
        "above_noise": {
            "verdict": above_noise.verdict.value,
            "estimate": above_noise.estimate,
            "low": above_noise.low,
            "high": above_noise.high,
            "words": above_noise.words,
        },
        "examples": [msgspec.structs.asdict(example) for example in report.examples],
    }


def words(report: ShadowReport, *, alpha: float = 0.05) -> str:
    """Say it in a sentence."""
    if not report.shadow.answers:
        return "not yet: no answer compared"
    low, high = proportion(Counts(report.shadow.answers, report.shadow.disagreements), alpha)
    share = report.shadow.disagreements / report.shadow.answers
    return (
        f"disagrees in {points(share)} % of {report.shadow.answers} answers ({points(low)} to {points(high)} %); "
        f"{excess(report, alpha=alpha).words}"
    )


def _comparison_document(seen: Comparison, alpha: float) -> dict[str, Any]:
    low, high = proportion(Counts(seen.answers, seen.disagreements), alpha)
    return {
        "answers": seen.answers,
        "disagreements": seen.disagreements,
        "malformed": seen.malformed,
        "disagreement_low": low,
        "disagreement_high": high,
        "outputs": {name: _output_document(gap) for name, gap in sorted(seen.outputs.items())},
    }


def _output_document(gap: OutputGap) -> dict[str, Any]:
    return {
        "values": gap.values,
        "beyond_tolerance": gap.far,
        "rows": gap.rows,
        "label_flips": gap.flips,
        "top_reordered": gap.reordered,
        "largest_difference": gap.largest,
        "mean_shift": gap.shift.mean,
        "shift_sd": gap.shift.variance**0.5,
    }


def _added(one: Mapping[str, OutputGap], two: Mapping[str, OutputGap]) -> dict[str, OutputGap]:
    merged = dict(one)
    for name, gap in two.items():
        known = merged.get(name)
        merged[name] = gap if known is None else _sum(known, gap)
    return merged


def _sum(one: OutputGap, two: OutputGap) -> OutputGap:
    shift: Moments = one.shift + two.shift
    return OutputGap(
        one.name,
        one.values + two.values,
        one.far + two.far,
        one.rows + two.rows,
        one.flips + two.flips,
        one.reordered + two.reordered,
        max(one.largest, two.largest),
        shift,
    )
