"""The pictures of the pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.dates
import numpy as np
from matplotlib.figure import Figure

from loadtests.monitoring.drops import Found
from loadtests.monitoring.flights import Replay
from router.performance.severity import Severity

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_drops(found: list[Found], path: Path) -> None:
    """Draw the share of runs that reached critical and emergency, by labels since the drop."""
    figure, (left, right) = _figure(2)
    for axes, severity in ((left, Severity.CRITICAL), (right, Severity.EMERGENCY)):
        axes.set_title(f"runs that reached {severity.word}", loc="left")
        axes.set_xscale("log")
        axes.set_xlabel("labels since the drop")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        for each in found:
            labels = sorted(each.labels[severity])
            shares = np.arange(1, len(labels) + 1) / each.runs
            axes.step([10, *labels, 10_000], [0, *shares, shares[-1] if labels else 0], where="post", label=_name(each))
    right.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def draw_flights(year: Replay, path: Path) -> None:
    """Draw the measured drop of the AUC by day, with the moments of the ladder."""
    figure, (axes,) = _figure(1)
    days = np.array([day.day for day in year.daily])
    axes.set_title("relative drop of the AUC since the likely change", loc="left")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.plot(days, [day.auc_drop for day in year.daily], color="#1f6feb", linewidth=1.2)
    for limit in (0.05, 0.15):
        axes.axhline(limit, color="#8d97a5", linewidth=0.8, linestyle=":")
    for moment in year.moments:
        if moment.command.act in {"open", "escalate", "resolve"}:
            word = "resolved" if moment.command.act == "resolve" else moment.command.severity.word
            axes.axvline(mpl.dates.date2num(moment.day), color="#cf222e", linewidth=0.9)
            axes.annotate(
                word, (moment.day, 0.97), xycoords=("data", "axes fraction"), rotation=90, va="top", ha="right"
            )
    figure.savefig(path, metadata={"Date": None})


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    # The salt makes equal findings equal files.
    mpl.rcParams.update({"svg.hashsalt": "monitoring", "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, panels)))


def _name(found: Found) -> str:
    return f"drop {found.drop:.0%}"
