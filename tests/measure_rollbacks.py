"""How fast a failing canary is gone, minutes each:

python -m tests.measure_rollbacks rollout 20 > docs/results/rollbacks.md
python -m tests.measure_rollbacks by-hand 20 > docs/results/rollbacks-by-hand.md
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Final

from tests.e2e.test_rollouts import raise_badly, register_fault, roll_out_badly
from tests.gateway import running_gateway

FAULTS: Final = ("error", "nan", "hang")
_WAYS: Final = {"rollout": roll_out_badly, "by-hand": raise_badly}
_TITLES: Final = {
    "rollout": "Rollbacks of canaries that fail hard",
    "by-hand": "Canaries made by `traffic set` that fail hard",
}
_PAGES: Final = {"rollout": "rollbacks.md", "by-hand": "rollbacks-by-hand.md"}
_HEAD: Final = """\
<!-- Generated: python -m tests.measure_rollbacks {way} {runs} > docs/results/{page} -->
# {title}

A whole gateway on one machine; 100 requests/s, a canary at 10 %, whose every fifth request fails, answers NaN, or hangs
for 2 s (clients give up after 1 s). Seconds from the first bad answer that a client got to the last answer of the
canary; {runs} runs each.

| fault | fastest | median | slowest | all |
|---|---|---|---|---|
"""


def main() -> None:
    """Print the page."""
    way, runs = sys.argv[1], int(sys.argv[2])
    sys.stdout.write(_HEAD.format(way=way, runs=runs, page=_PAGES[way], title=_TITLES[way]))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        home.mkdir()
        with running_gateway(Path(folder, "state"), home=home) as gateway:
            for fault in FAULTS:
                register_fault(gateway, fault, fault)
                took = sorted(_WAYS[way](gateway, fault, fault)[0].recovery_s() for _ in range(runs))
                figures = (took[0], median(took), took[-1])
                cells = [fault, *(f"{seconds:.2f}" for seconds in figures), " ".join(f"{each:.1f}" for each in took)]
                sys.stdout.write("| " + " | ".join(cells) + " |\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
