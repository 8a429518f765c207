"""Puts the shifts of `loadtests.monitoring.streams` before Evidently and River, in an environment of their own.

`python -m loadtests.drift_peers > docs/results/drift-peers.md` makes that environment first, in a temporary folder
unless `--environment` names one to keep. What runs in it imports nothing of ours but the streams, so that the peers'
pins and ours need not agree. Every contender gets the same rows. Evidently judges each window of 500 against the
reference by its defaults: a window "alarms" when its report calls any column drifted. River's ADWIN has no reference
and watches one column at a time: one detector per column, an alarm when any changes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadtests.monitoring.streams import CATEGORICAL, SHIFTS, Rows, clean

PEERS: Final = ("evidently==0.7.*", "pandas<3", "river")
REFERENCE_ROWS: Final = 10_000
WINDOW_ROWS: Final = 500
CLEAN_WINDOWS: Final = 5
RUNS: Final = 2
MOST_WINDOWS: Final = 5

Floats = npt.NDArray[np.float64]
Judge = Callable[[Floats], bool]
"""Takes the rows of a window [rows, 31], the score last; whether it alarms."""


def main() -> None:
    """Make the environment, and run there."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--environment", type=Path, help="folder of the virtual environment, made when missing")
    arguments.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.inside:
        print_page()
        return
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        python = make_environment(chosen.environment or Path(temporary))
        # Evidently reports home unless told not to, and reads only this.
        told = os.environ | {"DO_NOT_TRACK": "1"}  # noqa: TID251
        subprocess.run([python, "-m", "loadtests.drift_peers", "--inside"], env=told, check=True)


def make_environment(folder: Path) -> Path:
    """Install the peers into a virtual environment, unless they are there; return its interpreter."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], stdout=sys.stderr, check=True)
    return python


def print_page() -> None:
    """Measure both peers and print the page."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("evidently", "river"))
    print("<!-- Generated: python -m loadtests.drift_peers > docs/results/drift-peers.md -->")
    print("# Drift beside Evidently and River\n")
    print(f"{versions}, each by its defaults; ours on the same streams: [drift.md](drift.md).\n")
    shifts = list(SHIFTS)
    print(f"| contender | clean windows that alarm | {' | '.join(f'rows: {shift}' for shift in shifts)} |")
    print(f"|---|---|{'---|' * len(shifts)}")
    for name, start in (("River ADWIN per column", river), ("Evidently `DataDriftPreset`", evidently)):
        alarms, windows = 0, 0
        cells = []
        for shift in shifts:
            found = []
            for seed in range(RUNS):
                rng = np.random.default_rng(1000 + seed)
                judge = start(_matrix(clean(rng, REFERENCE_ROWS)))
                alarms += sum(judge(_matrix(clean(rng, WINDOW_ROWS))) for _ in range(CLEAN_WINDOWS))
                windows += CLEAN_WINDOWS
                found.append(_delay(judge, SHIFTS[shift], rng))
            seen = [rows for rows in found if rows]
            cells.append(f"{median(seen):,.0f} ({len(seen)} of {RUNS})" if seen else f"- (0 of {RUNS})")
            print(name, shift, cells[-1], file=sys.stderr)
        print(f"| {name} | {alarms} of {windows} | {' | '.join(cells)} |", flush=True)
    print(f"\nWindows of {WINDOW_ROWS} rows, {MOST_WINDOWS} at most after the shift; medians (runs that alarmed).")
    print("A contender that alarms on clean windows finds shifts at once by the same luck: read both columns together.")
    print("Evidently's row counts a window when one column is called drifted. Its own verdict on the whole needs half")
    print("of the columns (`drift_share` 0.5), which none of these shifts touches.")


def evidently(reference: Floats) -> Judge:
    """Judge each window by `DataDriftPreset` with its defaults."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    names = [f"x{i}" for i in range(reference.shape[1])]
    kinds = DataDefinition(
        numerical_columns=[name for i, name in enumerate(names) if i != CATEGORICAL],
        categorical_columns=[names[CATEGORICAL]],
    )

    def dataset(rows: Floats) -> Any:
        return Dataset.from_pandas(pd.DataFrame(rows, columns=names), data_definition=kinds)

    before = dataset(reference)

    def judge(rows: Floats) -> bool:
        found = Report([DataDriftPreset()]).run(dataset(rows), before).dict()
        counts = [metric["value"] for metric in found["metrics"] if "DriftedColumnsCount" in metric["metric_name"]]
        return bool(counts[0]["count"] > 0)

    return judge


def river(reference: Floats) -> Judge:
    """Judge by one ADWIN per column, fed with the last of the reference and then every row."""
    from river.drift import ADWIN

    detectors: list[Any] = [ADWIN() for _ in range(reference.shape[1])]

    def judge(rows: Floats) -> bool:
        changed = False
        for detector, column in zip(detectors, rows.T.tolist(), strict=True):
            for value in column:
                detector.update(value)
                changed |= bool(detector.drift_detected)
        return changed

    judge(reference[-2000:])
    return judge


def _delay(judge: Judge, shifted: Callable[[np.random.Generator, int], Rows], rng: np.random.Generator) -> int:
    for window in range(1, MOST_WINDOWS + 1):
        if judge(_matrix(shifted(rng, WINDOW_ROWS))):
            return window * WINDOW_ROWS
    return 0


def _matrix(rows: Rows) -> Floats:
    return np.column_stack([rows.features, rows.score])


if __name__ == "__main__":
    main()
