"""Writes the pages of docs/results/ about drift, performance alarms and the flights of a year."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from loadtests.monitoring import drift, drops
from loadtests.monitoring.drift import Delay, FalseAlarms
from loadtests.monitoring.drops import LOUD, Found
from loadtests.monitoring.flights import WINDOW_DAYS, Replay
from loadtests.monitoring.plots import draw_drops, draw_flights
from router.performance.escalation import Act
from router.performance.severity import Severity

_DRIFT: Final = """# Drift: false alarms and delays

The stream has 29 normal features, one of eight categories, and a score; the reference has {reference:,} rows, a window
{window}; settings are the defaults (`expected_windows_between_false_alarms` = {promise:,.0f}, over all columns).

## Nothing happens

| clean windows | false alarms | allowed on average | windows with a column `drifted` | most evidence, of the level |
|---|---|---|---|---|
| {windows:,} | **{alarms}** | {allowed:g} | {reports:.1%} | {highest:.1%} |

A report of `drifted` is a statement on one window (false discovery rate {fdr:.0%}, so about {fdr:.0%} of clean windows
have one); alarms are statements on the stream.

## Something happens

| shift | found | rows until the alarm: median (range) | columns under alarm |
|---|---|---|---|
{delays}

An alarm takes {least} windows at least, by `windows_to_alarm`.

What the monitor takes for it: [the running monitor](monitor.md).

{origin}
"""

_DROPS: Final = """# Performance alarms: labels until a drop is reported

Accuracy {accuracy:.0%}, 2 000 clean labels, then a relative drop; {runs} runs each. Losses between false alarms
are at least 10⁴ (warning), 10⁵ (critical, drop 5 %) and 10⁶ (emergency, drop 15 %) on average.

## Nothing happens

Runs of {labels:,} clean labels that ever reach a severity, of {clean_runs}:

| warning | critical | emergency |
|---|---|---|
| {false} |

## Accuracy drops

Median labels until the severity; in brackets the runs that reached it within 10 000 labels, where not all did.

| true drop | error | warning | critical | emergency |
|---|---|---|---|---|
{found}

A true drop of 3 % is below every grade: what is counted there is premature grading, not alarm without cause. The same
holds for an emergency at 10 %.

![Share of runs that reached critical, by labels](performance-alarms.svg)

{origin}
"""

_FLIGHTS: Final = """# A year of flights against the model of January and February

Drift is judged in windows of {days} days, labels daily. The baseline is the AUC on weeks that the fit had not seen,
three folds by week: {baseline:.3f} [{low:.3f}, {high:.3f}]. The profile knows how far each column wanders from week to
week (`stretches`), since tomorrow's weather resembles today's.

| day | what the ladder did | AUC dropped by | columns under drift alarm |
|---|---|---|---|
{moments}

**Lead time** to the first Critical: {first} days from the first Warning, {lead} days from the Warning that became it.

| month | flights | late | accuracy | AUC | accuracy, estimated without labels | AUC, estimated |
|---|---|---|---|---|---|---|
{months}

Columns are empty where labels alone speak: evidence of a drop that suffices for a Warning but not yet for more.

September: accuracy is the best of the year because few flights are late, while the AUC is {september:.3f}. An alarm on
accuracy would have seen an improvement. The AUC's loss (wrongly ordered pairs) does not depend on the share of late
flights, and the incident stays open. The monthly AUC mixes good and bad hours; the alarm compares flights that leave
together, which is harder, with the same on the reference.

The estimates without labels do not see what happens: late flights have other causes in summer, which is a change of
P(late | features), and of that no estimate without labels knows. This is why they are a hint only.

Control: January and February replayed against their own profile raise a drift alarm on: {before}.

![Drop of the AUC over the year](flights-year.svg)

{origin}
"""


def write_drift(folder: Path, false: FalseAlarms, found: list[Delay], *, origin: str) -> None:
    """Write drift.md."""
    page = _DRIFT.format(
        origin=origin,
        reference=drift.REFERENCE_ROWS,
        window=drift.WINDOW_ROWS,
        promise=drift.SETTINGS.expected_windows_between_false_alarms,
        windows=false.windows,
        alarms=false.alarms,
        allowed=false.windows / drift.SETTINGS.expected_windows_between_false_alarms,
        reports=false.reports / false.windows,
        highest=false.highest,
        fdr=drift.SETTINGS.false_discovery_rate,
        least=drift.SETTINGS.windows_to_alarm,
        delays="\n".join(_delay(each) for each in found),
    )
    (folder / "drift.md").write_text(page)


def write_drops(
    folder: Path, false: dict[Severity, int], found: list[Found], *, runs: int, labels: int, origin: str
) -> None:
    """Write performance-alarms.md and its plot."""
    page = _DROPS.format(
        origin=origin,
        accuracy=1 - drops.ERROR,
        runs=found[0].runs,
        labels=labels,
        clean_runs=runs,
        false=" | ".join(str(false[severity]) for severity in LOUD),
        found="\n".join(_drop(each) for each in found),
    )
    (folder / "performance-alarms.md").write_text(page)
    draw_drops(found, folder / "performance-alarms.svg")


def write_flights(folder: Path, year: Replay, *, origin: str) -> None:
    """Write flights-year.md and its plot."""
    critical = next((m for m in year.moments if m.command.severity >= Severity.CRITICAL), None)
    opened = next(
        moment
        for moment in year.moments
        if moment.command.act is Act.OPEN and (not critical or moment.command.incident == critical.command.incident)
    )
    page = _FLIGHTS.format(
        origin=origin,
        days=WINDOW_DAYS,
        baseline=year.baseline.value,
        low=year.baseline.low,
        high=year.baseline.high,
        moments="\n".join(
            f"| {m.day} | {m.command.act.value.replace('_', ' ')} ({m.command.severity.word})"
            f"{': ' + m.command.reason if m.command.reason else ''} | {m.auc_drop:+.1%} | {', '.join(m.columns)} |"
            for m in year.moments
        ),
        first=_days(year.moments[0].day, critical.day) if critical else "-",
        lead=_days(opened.day, critical.day) if critical else "-",
        months="\n".join(
            f"| {m.month} | {m.flights:,} | {m.late:.1%} | {m.accuracy:.3f} | {m.auc:.3f} | {m.estimated_accuracy:.3f} "
            f"| {m.estimated_auc:.3f} |"
            for m in year.months
        ),
        september=next(m.auc for m in year.months if m.month == 9),
        before=", ".join(year.before) or "nothing",
    )
    (folder / "flights-year.md").write_text(page)
    draw_flights(year, folder / "flights-year.svg")


def _days(first: np.datetime64, last: np.datetime64) -> int:
    return int((last - first) / np.timedelta64(1, "D"))


def _delay(found: Delay) -> str:
    rows = f"{median(found.rows):,.0f} ({min(found.rows):,} to {max(found.rows):,})" if found.rows else "-"
    return f"| {found.shift} | {len(found.rows)} of {found.runs} | {rows} | {', '.join(found.culprits)} |"


def _drop(found: Found) -> str:
    cells = [_labels(found.labels[severity], found.runs) for severity in LOUD]
    error = 1 - (1 - drops.ERROR) * (1 - found.drop)
    return f"| {found.drop:.0%} | {error:.3f} | {' | '.join(cells)} |"


def _labels(reached: list[int], runs: int) -> str:
    if not reached:
        return "-"
    return f"{median(reached):,.0f}" + (f" ({len(reached)} of {runs})" if len(reached) < runs else "")
