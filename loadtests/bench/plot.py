"""Findings as a picture: throughput and latency by number of connections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadtests.bench.findings import Findings, Row, rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: By place from the last: the eye goes to the last one, which is ours.
_COLOURS: Final = ("#c9ced6", "#8d97a5", "#1f6feb")
_GROUP_WIDTH: Final = 0.8


def draw(findings: Findings, path: Path) -> bool:
    """Draw the first comparison; return whether matplotlib (extra `loadtest`) was there to do it."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return False
    # The salt makes equal findings equal files.
    mpl.rcParams.update({"svg.hashsalt": "bench", "axes.spines.top": False, "axes.spines.right": False})
    found = rows(findings.comparisons[0])
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    throughput, latency = figure.subplots(1, 2)
    _draw_throughput(throughput, found)
    _draw_latency(latency, found)
    for axes in (throughput, latency):
        connections = list(dict.fromkeys(row.connections for row in found))
        axes.set_xticks(range(len(connections)), [f"{n} connection{'s' * (n > 1)}" for n in connections])
        axes.grid(axis="y", alpha=0.25)
        axes.set_axisbelow(True)
    figure.legend(*throughput.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return True


def _draw_throughput(axes: Axes, found: list[Row]) -> None:
    axes.set_title("requests per second: median and range", loc="left")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for contender, mine, at, colour, width in _placed(found):
        heights = [row.requests_per_s for row in mine]
        spread = [[row.requests_per_s - row.lowest for row in mine], [row.highest - row.requests_per_s for row in mine]]
        axes.bar(at, heights, width * 0.92, yerr=spread, color=colour, ecolor="#444444", label=contender)


def _draw_latency(axes: Axes, found: list[Row]) -> None:
    axes.set_title("latency in ms: p50 to p99", loc="left")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for _, mine, at, colour, _ in _placed(found):
        low, high = [row.p50_ms for row in mine], [row.p99_ms for row in mine]
        axes.vlines(at, low, high, color=colour, linewidth=6, alpha=0.45)
        axes.scatter(at, low, color=colour, s=60, zorder=3)
        axes.scatter(at, high, color=colour, s=30, zorder=3)


def _placed(found: list[Row]) -> Iterator[tuple[str, list[Row], list[float], str, float]]:
    """Yield each contender's rows with their places on the axis, its colour and its width."""
    contenders = list(dict.fromkeys(row.contender for row in found))
    width = _GROUP_WIDTH / len(contenders)
    for place, contender in enumerate(contenders):
        mine = [row for row in found if row.contender == contender]
        offset = (place - (len(contenders) - 1) / 2) * width
        yield contender, mine, [group + offset for group in range(len(mine))], _COLOURS[place - len(contenders)], width
