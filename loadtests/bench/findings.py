"""What a benchmark run found, and what follows from it: medians, ratios round by round, goals. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Final

import msgspec

BARE: Final = "bare app"
TUNED: Final = "bare app, tuned"
GATEWAY: Final = "gateway"
WITHOUT_LOG: Final = "gateway, log off"


class Sample(msgspec.Struct, frozen=True):
    """One measurement: a contender under load from so many connections, in one round."""

    contender: str
    connections: int
    round: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float


class Comparison(msgspec.Struct, frozen=True):
    """Contenders measured in turn, round after round, so that a drift of the machine's speed meets all alike."""

    title: str
    baseline: str
    samples: tuple[Sample, ...]


class Findings(msgspec.Struct, frozen=True):
    """Everything that a result file holds."""

    date: str
    command: str
    commit: str
    machine: Mapping[str, str]
    rounds: int
    seconds: int
    """Length of each measurement."""
    comparisons: tuple[Comparison, ...]
    first_start_s: float
    """From `shepherd up` on an empty state directory until the gateway says that it is ready."""
    restart_s: float
    """From `shepherd up` on a state directory with a model and a policy to the first answered inference."""
    memory_bytes: Mapping[str, int]
    """Proportional set size after the load, by process: one router, one model replica, and what runs them."""
    idle_cpu_ratio: float
    """Cores that the gateway's processes use while nobody asks."""


class Row(msgspec.Struct, frozen=True):
    """One contender at one number of connections, over all rounds."""

    contender: str
    connections: int
    requests_per_s: float
    """Median, as the latencies are."""
    lowest: float
    highest: float
    p50_ms: float
    p99_ms: float
    ratio: float
    """Median of the rounds' own throughput ratios to the baseline."""
    p50_ratio: float
    """The same of the median latency."""


class Goal(msgspec.Struct, frozen=True):
    """A line that the gateway means to reach, and where it is."""

    text: str
    value: float
    is_met: bool


def rows(comparison: Comparison) -> list[Row]:
    """Sum up a comparison: one row per contender and number of connections, in the order of measurement."""
    grouped: dict[tuple[int, str], list[Sample]] = {}
    for sample in comparison.samples:
        grouped.setdefault((sample.connections, sample.contender), []).append(sample)
    order = list(dict.fromkeys(sample.contender for sample in comparison.samples if sample.round == 0))
    return [
        _row(grouped[connections, contender], grouped[connections, comparison.baseline])
        for connections in sorted({sample.connections for sample in comparison.samples})
        for contender in order
    ]


def goals(findings: Findings) -> list[Goal]:
    """Judge the gateway, with everything on, beside the bare app."""
    found = {row.connections: row for row in rows(findings.comparisons[0]) if row.contender == GATEWAY}
    wanted = [(16, 1.5), (64, 2.5)]
    reached = [
        Goal(
            f"requests/s at {n} connections at least {least:g} times the bare app's",
            found[n].ratio,
            found[n].ratio >= least,
        )
        for n, least in wanted
        if n in found
    ]
    if 1 in found:
        slower = found[1].p50_ratio
        reached.append(Goal("p50 at 1 connection at most 2 times the bare app's", slower, slower <= 2))
    return reached


def _row(samples: list[Sample], baseline: list[Sample]) -> Row:
    pairs = list(zip(_by_round(samples), _by_round(baseline), strict=True))
    throughputs = [sample.requests_per_s for sample in samples]
    return Row(
        contender=samples[0].contender,
        connections=samples[0].connections,
        requests_per_s=median(throughputs),
        lowest=min(throughputs),
        highest=max(throughputs),
        p50_ms=median(sample.p50_ms for sample in samples),
        p99_ms=median(sample.p99_ms for sample in samples),
        ratio=median(ours.requests_per_s / theirs.requests_per_s for ours, theirs in pairs),
        p50_ratio=median(ours.p50_ms / theirs.p50_ms for ours, theirs in pairs),
    )


def _by_round(samples: list[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: sample.round)
