"""Writes docs/results/sequential-tests.md and its plot."""

from __future__ import annotations

from pathlib import Path

from loadtests.simulations.sequential_tests import ALPHA, LOOKS, MISMATCH_ALPHA, RUNS, Findings, Result

_PAGE = """# Sequential tests: what looking after every request costs, and what it finds

`python -m loadtests.simulations` makes this page from fixed seeds: {runs} simulated rollouts a row, {looks} looks each,
from the first request of the canary to its {last}th, the first FAIL counting. Every look is a call of
`compare_error_rates(canary, control, margin=0, alpha={alpha})` from `router/analysis`.

## A/A: canaries that are like the control

| both arms | failed by ours | failed by a z test at each look |
|---|---|---|
{alike}

The promise is less than {alpha:.0%}. A z test at 5 %, right for a single look, fails up to {naive:.0%} of the good
canaries.

## Canaries that are worse

| error rate, control → canary | caught | median | 95 % of runs |
|---|---|---|---|
{worse}

Median and 95 %: requests of the canary until the FAIL. A canary with a small share of the traffic needs fewer, since
the control is known better.

![Share of rollouts failed by requests of the canary](sequential-tests.svg)

## Sample-ratio mismatch

Alarm level {mismatch_alpha:g}, a look every 200 requests up to 10 000, expected 90 : 10.

| traffic | alarms |
|---|---|
| as expected | {kept:.1%} |
| one in five of the smaller arm's requests is lost | {lost:.1%} |
"""


def write(folder: Path, findings: Findings) -> None:
    """Write both files into a folder."""
    page = _PAGE.format(
        runs=f"{RUNS:,}".replace(",", " "),
        looks=len(LOOKS),
        last=f"{LOOKS[-1]:,}".replace(",", " "),
        alpha=ALPHA,
        mismatch_alpha=MISMATCH_ALPHA,
        alike="\n".join(
            f"| {ours.case.name} | {ours.rate:.1%} | {naive.rate:.1%} |"
            for ours, naive in zip(findings.alike, findings.naive, strict=True)
        ),
        naive=max(result.rate for result in findings.naive),
        worse="\n".join(_row(result) for result in findings.worse),
        kept=findings.kept,
        lost=findings.lost,
    )
    (folder / "sequential-tests.md").write_text(page, "utf-8")
    _plot(folder / "sequential-tests.svg", findings)


def _row(result: Result) -> str:
    return f"| {result.case.name} | {result.rate:.1%} | {result.needed(0.5)} | {result.needed(0.95)} |"


def _plot(path: Path, findings: Findings) -> None:
    import matplotlib as mpl  # in the loadtest extra only

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "sequential-tests"  # the same bytes for the same numbers
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5))
    for result in findings.worse:
        axes.step([0, *result.caught], [i / result.runs for i in range(len(result.caught) + 1)], label=result.case.name)
    for results, label, style in ((findings.alike, "A/A", "k-"), (findings.naive, "A/A, z test", "k:")):
        result = results[-1]
        xs, ys = [1, *result.caught, LOOKS[-1]], [i / result.runs for i in range(len(result.caught) + 1)]
        axes.step(xs, [*ys, ys[-1]], style, where="post", label=f"{label}, {result.case.name}")
    axes.set(xscale="log", xlim=(5, LOOKS[-1]), ylim=(0, 1), xlabel="canary requests", ylabel="rollouts failed")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=7, loc="upper left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
