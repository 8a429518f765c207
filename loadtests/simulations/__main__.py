"""Runs the simulations: `python -m loadtests.simulations [FOLDER]` (docs/results unless told otherwise)."""

from __future__ import annotations

import sys
from pathlib import Path

from loadtests.simulations.page import write
from loadtests.simulations.sequential_tests import measure


def main(folder: Path) -> None:
    """Simulate, then write the page and its plot."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, measure())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results"))
