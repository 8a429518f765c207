"""Changes weights under load: how long until the last router has heard, and is no request lost.

`python -m loadtests.changes.weights` runs two routers, sends 1 000 requests a second over both, and moves all traffic
between two versions again and again. Each answer tells its variant and its router. A change has reached a router when
the last request that was due before it and went to the old variant is past; the slower router counts.
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
from loadtests.server import Gateway
from loadtests.steady import Answer, SteadyLoad, latency

_PAUSE_S: Final = 0.25
_GOAL_MS: Final = 100.0
_SHARES: Final = {"stable": (10_000, 0), "canary": (0, 10_000)}


class Change(NamedTuple):
    """One change of weights."""

    to: str
    """The variant that gets all."""
    asked: float
    """When the admin API was asked, in monotonic seconds."""
    answered: float


@click.command(context_settings={"show_default": True})
@click.option("--changes", default=100, type=click.IntRange(min=2))
@click.option("--rate", default=1000.0, help="Requests per second.")
@click.option("--keep", is_flag=True, help="Write the page to loadtests/results.")
def main(changes: int, rate: float, keep: bool) -> None:  # noqa: FBT001 - click's way
    """Measure and print; exit with 1 when a request failed."""
    console = Console()
    load = describe_load()
    with scene(console, "routers=2") as (gateway, progress):
        register_classifiers(gateway, 2)
        serve(gateway)
        _move(gateway, "stable")
        made = []
        with SteadyLoad(gateway.port, PATH, BODY, rate=rate, connections=32) as clients:
            time.sleep(2)
            for number in range(changes):
                progress.doing(f"change {number + 1} of {changes}")
                made.append(_move(gateway, "stable" if number % 2 else "canary"))
                time.sleep(_PAUSE_S)
    publish(console, render(made, clients.answers, rate, load), "weights", is_kept=keep)
    sys.exit(1 if latency(clients.answers).failed else 0)


def _move(gateway: Gateway, to: str) -> Change:
    asked = time.monotonic()
    stable, canary = _SHARES[to]
    gateway.route(MODEL, ("stable", 1, stable), ("canary", 2, canary))
    return Change(to, asked, time.monotonic())


def reached_ms(made: Sequence[Change], answers: Sequence[Answer]) -> list[float]:
    """Tell of each change how many milliseconds after it was asked for the last router acted on it.

    That is when the last request was due that still went to the variant that lost its weight: within a router's share
    of the rate, one request's distance, when it heard.
    """
    found = []
    ends = [change.asked for change in made[1:]] + [float("inf")]
    for change, end in zip(made, ends, strict=True):
        old = [each.due for each in answers if change.asked <= each.due < end and each.variant not in ("", change.to)]
        found.append(1e3 * (max(old, default=change.asked) - change.asked))
    return found


def render(made: Sequence[Change], answers: Sequence[Answer], rate: float, load: str) -> str:
    """Write the page."""
    reached = sorted(reached_ms(made, answers))
    cuts = statistics.quantiles(reached, n=100, method="inclusive")
    written = statistics.median(1e3 * (change.answered - change.asked) for change in made)
    seen = latency(answers)
    routers = {answer.router for answer in answers if answer.router}
    met = "met" if cuts[98] < _GOAL_MS and not seen.failed else "missed"
    verdict = (
        f"**{met}**: p99 over {len(made)} changes is {cuts[98]:.0f} ms (goal {_GOAL_MS:g}); {seen.failed} of "
        f"{seen.requests} requests failed (goal 0)."
    )
    method = (
        f"{rate:g} requests/s over {len(routers)} routers and 32 connections. Measured from before the request to the "
        f"admin API, so the write itself (median {written:.0f} ms: read, check, compare-and-set, audit) is in it, to "
        "the last request that went to the old variant on any router."
    )
    rows = [[name, f"{value:.0f}"] for name, value in (("p50", cuts[49]), ("p99", cuts[98]), ("worst", reached[-1]))]
    clients = f"Clients meanwhile: p50 {seen.p50_ms:.2f} ms, p99 {seen.p99_ms:.2f} ms."
    reached_table = table(["a change has reached all routers", "ms"], rows)
    return page("A change of weights reaches all routers", verdict, method, reached_table, clients, load=load)


if __name__ == "__main__":
    main()
