"""Figures of a benchmark follow from its samples: medians, ratios round by round, goals."""

from __future__ import annotations

import pytest

from loadtests.bench.findings import BARE, GATEWAY, Comparison, Findings, Sample, goals, rows
from loadtests.bench.page import render_page


def sample(contender: str, connections: int, turn: int, requests_per_s: float, p50_ms: float = 1.0) -> Sample:
    return Sample(contender, connections, turn, requests_per_s, p50_ms, p50_ms * 2)


def findings(*samples: Sample) -> Findings:
    return Findings(
        date="2026-01-02",
        command="python -m loadtests.bench",
        commit="abc",
        machine={"cores": "2"},
        rounds=3,
        seconds=5,
        comparisons=(Comparison("Beside a bare app", BARE, samples),),
        first_start_s=4.0,
        restart_s=6.0,
        memory_bytes={"router": 3 << 20, "replica": 1 << 20},
        idle_cpu_ratio=0.02,
    )


def test_a_row_is_the_median_of_its_rounds_with_their_range() -> None:
    """One slow round does not move the figure, but shows in the range."""
    samples = tuple(sample(BARE, 16, turn, figure) for turn, figure in enumerate([100, 20, 110]))

    (row,) = rows(Comparison("", BARE, samples))

    assert (row.requests_per_s, row.lowest, row.highest) == (100, 20, 110)


def test_a_ratio_compares_what_was_measured_in_the_same_round() -> None:
    """A machine that halves its speed in one round halves both sides, so the ratio stands."""
    speeds = [100, 50, 10]
    samples = tuple(
        sample(contender, 16, turn, speed * factor)
        for turn, speed in enumerate(speeds)
        for contender, factor in ((BARE, 1), (GATEWAY, 3))
    )

    ratios = {row.contender: row.ratio for row in rows(Comparison("", BARE, samples))}

    assert ratios == {BARE: 1, GATEWAY: 3}


def test_rows_go_by_connections_then_in_the_contenders_order() -> None:
    """The page reads as the comparison is meant: baseline first."""
    samples = tuple(sample(name, connections, 0, 1) for connections in (64, 1) for name in (BARE, GATEWAY))

    order = [(row.connections, row.contender) for row in rows(Comparison("", BARE, samples))]

    assert order == [(1, BARE), (1, GATEWAY), (64, BARE), (64, GATEWAY)]


@pytest.mark.parametrize(("factor", "is_met"), [(1.4, False), (1.5, True), (2.0, True)])
def test_a_goal_is_met_from_its_limit_on(factor: float, is_met: bool) -> None:
    """At 16 connections the gateway is to answer one and a half times what the bare app does."""
    (goal,) = goals(findings(sample(BARE, 16, 0, 100), sample(GATEWAY, 16, 0, 100 * factor)))

    assert goal.value == pytest.approx(factor)
    assert goal.is_met is is_met


@pytest.mark.parametrize(("p50_ms", "is_met"), [(2.0, True), (2.1, False)])
def test_latency_has_a_goal_at_one_connection(p50_ms: float, is_met: bool) -> None:
    """Alone on the line, a request may take twice the bare app's time at most."""
    (goal,) = goals(findings(sample(BARE, 1, 0, 100, 1.0), sample(GATEWAY, 1, 0, 100, p50_ms)))

    assert goal.is_met is is_met


def test_the_page_says_what_was_measured_where_and_how_to_repeat_it() -> None:
    """A figure without machine, commit and command is hearsay."""
    page = render_page(findings(sample(BARE, 16, 0, 1000), sample(GATEWAY, 16, 0, 1400)), "plot.svg")

    assert "`python -m loadtests.bench` at commit `abc`, on cores 2." in page
    assert "**missed**: requests/s at 16 connections" in page
    assert "| 16 | gateway | 1,400 | 1,400 | 1,400 | 1.40 | 1.000 | 2.000 |" in page
    assert "(sum of PSS): 4 MiB" in page
    assert "(plot.svg)" in page
