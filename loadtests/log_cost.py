"""What the request log costs: processor time by process for the same load, with and without log and monitor, in turns.

`python -m loadtests.log_cost > docs/results/request-log-cost.md`; needs wrk. Requests per second tell whether anybody
notices; processor time tells where it goes, and other load on the machine hardly moves it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import click

from loadtests.bench.__main__ import prepare
from loadtests.bench.contest import PATH, Material
from loadtests.bench.machine import describe_machine
from loadtests.bench.wrk import require_wrk, run_wrk
from loadtests.processes import cpu_seconds_by_name
from loadtests.server import Gateway

_START_S: Final = 120.0
#: Time for what was recorded to be shipped and read: it belongs to the requests that were counted.
_SETTLE_S: Final = 3.0
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "no log": ("no-log-enabled",),
    "log": ("no-monitor-enabled",),
    "log and monitor": (),
}
_SHOWN: Final = {"gateway:Router": "router", "ModelReplica": "model replica", "valkey": "Valkey", "Monitor": "monitor"}


class Round(NamedTuple):
    """One gateway under load for some seconds."""

    requests_per_s: float
    cpu_us: Mapping[str, float]
    """Per request, by what the processes are."""


@click.command(context_settings={"show_default": True})
@click.option("--rounds", default=5, type=click.IntRange(min=1))
@click.option("--seconds", default=4, type=click.IntRange(min=1))
@click.option("--connections", default=64, type=click.IntRange(min=1))
def main(rounds: int, seconds: int, connections: int) -> None:
    """Print the page."""
    require_wrk()
    found: dict[str, list[Round]] = {kind: [] for kind in _KINDS}
    with tempfile.TemporaryDirectory(prefix="cost-", ignore_cleanup_errors=True) as name, ExitStack() as running:
        material, gateways = Material(Path(name)), {}
        for kind, settings in _KINDS.items():
            state = Path(name, kind.replace(" ", "-"))
            prepare(state, material, *settings)
            gateways[kind] = running.enter_context(Gateway(state, *settings))
            gateways[kind].wait_for(PATH, material.request, timeout_s=_START_S)
        kinds = list(_KINDS)
        for turn in range(rounds):
            for kind in kinds[turn % 3 :] + kinds[: turn % 3]:
                found[kind].append(_play(gateways[kind], material, connections, seconds))
                print(kind, found[kind][-1], file=sys.stderr)
    _print(found, seconds, connections)


def _play(gateway: Gateway, material: Material, connections: int, seconds: int) -> Round:
    before = cpu_seconds_by_name(gateway.pid)
    url = f"http://127.0.0.1:{gateway.port}{PATH}"
    load = run_wrk(url, material.bodies, connections=connections, seconds=seconds)
    time.sleep(_SETTLE_S)
    used: dict[str, float] = {}
    for name, spent in cpu_seconds_by_name(gateway.pid).items():
        shown = next((word for title, word in _SHOWN.items() if title in name), "all others")
        used[shown] = used.get(shown, 0.0) + (spent - before.get(name, 0.0)) / load.requests * 1e6
    return Round(load.requests_per_s, used)


def _print(found: Mapping[str, list[Round]], seconds: int, connections: int) -> None:
    machine, kinds = describe_machine(), list(found)
    rounds = len(found[kinds[0]])
    print("<!-- Generated: python -m loadtests.log_cost > docs/results/request-log-cost.md -->")
    print("# What the request log costs\n")
    print(f"{rounds} rounds of {seconds} s each in turns; wrk with {connections} connections on the same")
    print(f"{machine['cores']} cores ({machine['processor']}). Processor time in µs per request: the least of all")
    print("rounds, which other load on the machine moves least.\n")
    print(f"| process | {' | '.join(kinds)} |\n|---|{'--:|' * len(kinds)}")
    for process in (*_SHOWN.values(), "all others"):
        cells = [f"{min(each.cpu_us.get(process, 0.0) for each in found[kind]):.1f}" for kind in kinds]
        print(f"| {process} | {' | '.join(cells)} |")
    sums = [f"{min(sum(each.cpu_us.values()) for each in found[kind]):.1f}" for kind in kinds]
    print(f"| sum | {' | '.join(sums)} |")
    rates = {kind: [each.requests_per_s for each in found[kind]] for kind in kinds}
    print(f"| requests/s, median | {' | '.join(f'{median(rates[kind]):,.0f}' for kind in kinds)} |")
    ratios = [median(a / b for a, b in zip(rates[kind], rates[kinds[0]], strict=True)) for kind in kinds]
    print(f"| to no log (median of the rounds' ratios) | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")


if __name__ == "__main__":
    main()
