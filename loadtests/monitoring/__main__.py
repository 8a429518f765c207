"""Runs the measurements: `python -m loadtests.monitoring [FOLDER]` (docs/results unless told otherwise)."""

from __future__ import annotations

import sys
from pathlib import Path

from demo.flights import data_folder, read_flights
from loadtests.monitoring import drift, drops, flights
from loadtests.monitoring.pages import write_drift, write_drops, write_flights
from loadtests.result_page import describe_load, describe_origin

CLEAN_WINDOWS = 1000
CLEAN_LABELS = 20_000


def main(folder: Path) -> None:
    """Measure, then write three pages and their plots."""
    folder.mkdir(parents=True, exist_ok=True)
    origin = describe_origin(describe_load(), "Streams come from fixed seeds: the same commit gives the same figures.")
    write_drift(folder, drift.false_alarms(CLEAN_WINDOWS, 4), drift.delays(10), origin=origin)
    found = [drops.detect(drop, 40) for drop in drops.DROPS]
    clean = drops.false_alarms(40, CLEAN_LABELS)
    write_drops(folder, clean, found, runs=40, labels=CLEAN_LABELS, origin=origin)
    write_flights(folder, flights.replay(read_flights(data_folder())), origin=origin)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results"))
