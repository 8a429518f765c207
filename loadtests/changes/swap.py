"""Puts a version in another's place under load: what clients see while it loads, and at the moment of the change.

`python -m loadtests.changes.swap` registers versions of one small model and swaps to the next one again and again. The
time "during" begins with the request to the admin API, which has the new version loaded, warmed and golden-checked
before it gets any traffic, and ends some seconds after the change, so that it holds the end of the old one's process.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import click
from rich.console import Console

from loadtests.changes.scene import BODY, MODEL, PATH, register_classifiers, scene, serve
from loadtests.result_page import describe_load, page, publish, table
from loadtests.steady import Latency, SteadyLoad, latency

#: Of steady load before each change, and after it.
_BEFORE_S: Final = 5.0
_AFTER_S: Final = 3.0
_SETTLE_S: Final = 0.5
_GOAL: Final = 1.2


class Swap(NamedTuple):
    """One change of version."""

    load_s: float
    """From the request to the answer of the admin API: the new version is ready and has the traffic."""
    before: Latency
    during: Latency


@click.command(context_settings={"show_default": True})
@click.option("--swaps", default=8, type=click.IntRange(min=1))
@click.option("--rate", default=200.0, help="Requests per second.")
@click.option("--keep", is_flag=True, help="Write the page to loadtests/results.")
def main(swaps: int, rate: float, keep: bool) -> None:  # noqa: FBT001 - click's way
    """Measure and print; exit with 1 when a request failed."""
    console = Console()
    load = describe_load()
    found: list[Swap] = []
    with scene(console) as (gateway, progress):
        register_classifiers(gateway, swaps + 1)
        serve(gateway)
        for number in range(1, swaps + 1):
            progress.doing(f"swap {number} of {swaps}")
            with SteadyLoad(gateway.port, PATH, BODY, rate=rate) as clients:
                time.sleep(_SETTLE_S + _BEFORE_S)
                asked = time.monotonic()
                gateway.route(MODEL, ("stable", number + 1, 10_000))
                changed = time.monotonic()
                time.sleep(_AFTER_S)
            before = latency(clients.answers, asked - _BEFORE_S, asked)
            found.append(Swap(changed - asked, before, latency(clients.answers, asked)))
            progress.found(_line(found[-1]))
    publish(console, render(found, rate, load), "swap", is_kept=keep)
    sys.exit(1 if any(swap.before.failed + swap.during.failed for swap in found) else 0)


def render(found: Sequence[Swap], rate: float, load: str) -> str:
    """Write the page."""
    rows = [
        [
            str(number),
            f"{swap.load_s:.1f}",
            *(f"{cell:.2f}" for cell in (swap.before.p50_ms, swap.during.p50_ms)),
            *(f"{cell:.2f}" for cell in (swap.before.p99_ms, swap.during.p99_ms)),
            f"{swap.during.p99_ms / swap.before.p99_ms:.2f}",
            f"{swap.during.worst_ms:.1f}",
            str(swap.during.requests),
            str(swap.before.failed + swap.during.failed),
        ]
        for number, swap in enumerate(found, 1)
    ]
    header = [
        *("swap", "seconds", "p50 before, ms", "during", "p99 before, ms", "during", "ratio"),
        *("worst, ms", "requests", "failed"),
    ]
    ratio = statistics.median(swap.during.p99_ms / swap.before.p99_ms for swap in found)
    failed = sum(swap.before.failed + swap.during.failed for swap in found)
    met = "met" if ratio <= _GOAL and not failed else "missed"
    verdict = (
        f"**{met}**: {failed} of {sum(swap.before.requests + swap.during.requests for swap in found)} requests failed "
        f"(goal 0); p99 during the swap is {ratio:.2f} times that before, median of {len(found)} (goal {_GOAL:g})."
    )
    method = (
        f"{rate:g} requests/s on a fixed schedule; each swap loads a version that was not loaded, in a process of its "
        "own, on the same cores."
    )
    return page("A version is swapped under load", verdict, method, table(header, rows), load=load)


def _line(swap: Swap) -> str:
    before, during = swap.before, swap.during
    return (
        f"{swap.load_s:.1f} s, p99 {before.p99_ms:.2f} → {during.p99_ms:.2f} ms "
        f"({during.p99_ms / before.p99_ms:.2f} times), failed {before.failed + during.failed} of "
        f"{before.requests + during.requests}"
    )


if __name__ == "__main__":
    main()
