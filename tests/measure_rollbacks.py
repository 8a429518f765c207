"""How fast a failing canary is gone: `python -m tests.measure_rollbacks 20 > docs/results/rollbacks.md`, minutes."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Final

from tests.e2e.test_rollouts import register_fault, roll_out_badly
from tests.gateway import running_gateway

FAULTS: Final = ("error", "nan", "hang")
_HEAD: Final = """\
<!-- Generated: python -m tests.measure_rollbacks {runs} > docs/results/rollbacks.md -->
# Rollbacks of canaries that fail hard

A whole gateway on one machine; 100 requests/s, a canary at 10 %, whose every fifth request fails, answers NaN, or hangs
for 2 s (clients give up after 1 s). Seconds from the first bad answer that a client got to the last answer of the
canary; {runs} runs each.

| fault | fastest | median | slowest | all |
|---|---|---|---|---|
"""


def main() -> None:
    """Print the page."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    sys.stdout.write(_HEAD.format(runs=runs))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        home.mkdir()
        with running_gateway(Path(folder, "state"), home=home) as gateway:
            for fault in FAULTS:
                register_fault(gateway, fault, fault)
                took = sorted(roll_out_badly(gateway, fault, fault)[0].recovery_s() for _ in range(runs))
                figures = (took[0], median(took), took[-1])
                cells = [fault, *(f"{seconds:.2f}" for seconds in figures), " ".join(f"{each:.1f}" for each in took)]
                sys.stdout.write("| " + " | ".join(cells) + " |\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
