"""Thousands of rollouts under a virtual clock: `python -m tests.simulate_rollouts > docs/results/rollouts.md`."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Final, NamedTuple

from router.policy.plan import Plan
from router.rollout.phase import Phase
from tests.rollouts import EPOCH_S, World

RUNS: Final = 1000
PLAN: Final = Plan(steps=(500, 2500, 10_000))
_HEAD: Final = """\
<!-- Generated: python -m tests.simulate_rollouts > docs/results/rollouts.md -->
# Simulated rollouts

Each line: {runs} rollouts by the real core (`router/rollout`) under a virtual clock, 100 requests/s, steps 5 %, 25 %,
100 %, default checks (error rate within 2 points, p90 within twice, alpha 5 %), judged after every second and never
told what is true. *Canary requests* are those that the new version answered before the rollout was over, those of the
promotion and the time to bake left out; *seconds* likewise. Seeds 0 to {last}.

| old errors | new | durations | promoted | rolled back | canary requests: median | 95 % | seconds: median | 95 % |
|---|---|---|---|---|---|---|---|---|
"""


class Summary(NamedTuple):
    """What became of many rollouts of one kind."""

    phases: Counter[Phase]
    requests: list[int]
    """Answered by the canary until the verdict; sorted."""
    seconds: list[float]


def simulate(runs: int, **world: Any) -> Summary:
    """Run rollouts with seeds 0, 1, 2 and so on."""
    phases: Counter[Phase] = Counter()
    requests, seconds = [], []
    for seed in range(runs):
        life = World(PLAN, seed, **world)
        rollout = life.rollout
        while not rollout.is_over and rollout.phase not in {Phase.PROMOTING, Phase.BAKING}:
            life.serve()
            life.turn()
            life.now += life.tick_s
            rollout = life.rollout
            if life.now - EPOCH_S > 14_400:
                break
        verdict = {Phase.ROLLING_BACK: Phase.FAILED, Phase.PROMOTING: Phase.SUCCEEDED, Phase.BAKING: Phase.SUCCEEDED}
        phases[verdict.get(rollout.phase, rollout.phase)] += 1
        requests.append(life.requests)
        seconds.append(life.now - EPOCH_S)
    return Summary(phases, sorted(requests), sorted(seconds))


def main() -> None:
    """Print the page."""
    kinds: list[dict[str, Any]] = [
        {"old_errors": 0.001, "new_errors": 0.001},
        {"old_errors": 0.01, "new_errors": 0.01},
        {"old_errors": 0.05, "new_errors": 0.05},
        {"old_errors": 0.001, "new_errors": 0.051},
        {"old_errors": 0.01, "new_errors": 0.06},
        {"old_errors": 0.05, "new_errors": 0.10},
        {"old_errors": 0.01, "new_errors": 0.21},
        {"old_errors": 0.01, "new_errors": 0.01, "new_slowness": 3.0},
    ]
    sys.stdout.write(_HEAD.format(runs=RUNS, last=RUNS - 1))
    for kind in kinds:
        summary = simulate(RUNS, **kind)
        middle, most = RUNS // 2, RUNS * 95 // 100
        cells = [
            f"{100 * kind['old_errors']:g} %",
            f"{100 * kind['new_errors']:g} %",
            f"{kind.get('new_slowness', 1.0):g} times",
            f"{100 * summary.phases[Phase.SUCCEEDED] / RUNS:.1f} %",
            f"{100 * summary.phases[Phase.FAILED] / RUNS:.1f} %",
            str(summary.requests[middle]),
            str(summary.requests[most]),
            f"{summary.seconds[middle]:.0f}",
            f"{summary.seconds[most]:.0f}",
        ]
        sys.stdout.write("| " + " | ".join(cells) + " |\n")


if __name__ == "__main__":
    main()
