"""Kills a replica's process under load: who notices is what is measured.

`python -m loadtests.changes.kill` sends SIGKILL to one of two replicas, waits until there are two again, and repeats;
then the same with a single replica, whose requests wait for the one that takes its place.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import click
from rich.console import Console

from loadtests.changes.scene import BODY, MODEL, PATH, START_S, register_classifiers, scene, serve
from loadtests.result_page import ProgressLog, describe_load, page, publish, table
from loadtests.server import Gateway
from loadtests.steady import Latency, SteadyLoad, latency
from loadtests.waiting import wait_until

_BEFORE_S: Final = 3.0
_AFTER_S: Final = 3.0
_SETTLE_S: Final = 0.5


class Kill(NamedTuple):
    """One death."""

    replicas: int
    """That there were."""
    back_s: float
    """Until there were as many again, in the eyes of the admin API."""
    before: Latency
    after: Latency


@click.command(context_settings={"show_default": True})
@click.option("--kills", default=5, type=click.IntRange(min=1), help="With two replicas, and with one.")
@click.option("--rate", default=200.0, help="Requests per second.")
@click.option("--keep", is_flag=True, help="Write the page to loadtests/results.")
def main(kills: int, rate: float, keep: bool) -> None:  # noqa: FBT001 - click's way
    """Measure and print; exit with 1 when a request failed."""
    console = Console()
    load = describe_load()
    found: list[Kill] = []
    for replicas in (2, 1):
        with scene(console) as (gateway, progress):
            tags = {"shepherd.min_replicas": str(replicas), "shepherd.max_replicas": str(replicas)}
            register_classifiers(gateway, 1, tags)
            serve(gateway)
            for number in range(1, kills + 1):
                progress.doing(f"{replicas} replica(s), death {number} of {kills}")
                found.append(_kill(gateway, replicas, rate, progress))
    publish(console, render(found, rate, load), "kill", is_kept=keep)
    sys.exit(1 if any(kill.before.failed + kill.after.failed for kill in found) else 0)


def _kill(gateway: Gateway, replicas: int, rate: float, progress: ProgressLog) -> Kill:
    def all_there() -> list[int]:
        there = gateway.replicas(MODEL, 1)
        return there if len(there) == replicas else []

    there = wait_until(all_there, timeout_s=START_S, what="all replicas")
    with SteadyLoad(gateway.port, PATH, BODY, rate=rate) as clients:
        time.sleep(_SETTLE_S + _BEFORE_S)
        killed = time.monotonic()
        os.kill(there[0], signal.SIGKILL)
        wait_until(
            lambda: len(now := all_there()) == replicas and there[0] not in now,
            timeout_s=START_S,
            what="another replica",
        )
        back_s = time.monotonic() - killed
        time.sleep(_AFTER_S)
    before = latency(clients.answers, killed - _BEFORE_S, killed)
    kill = Kill(replicas, back_s, before, latency(clients.answers, killed))
    progress.found(
        f"{replicas} replica(s), back after {back_s:.1f} s, worst {kill.after.worst_ms:.0f} ms, p99 "
        f"{before.p99_ms:.2f} → {kill.after.p99_ms:.2f} ms, failed {before.failed + kill.after.failed} of "
        f"{before.requests + kill.after.requests}"
    )
    return kill


def render(found: Sequence[Kill], rate: float, load: str) -> str:
    """Write the page."""
    rows = [
        [
            str(kill.replicas),
            f"{kill.back_s:.1f}",
            f"{kill.before.p99_ms:.2f}",
            f"{kill.after.p99_ms:.2f}",
            f"{kill.after.worst_ms:.0f}",
            str(kill.before.requests + kill.after.requests),
            str(kill.before.failed + kill.after.failed),
        ]
        for kill in found
    ]
    failed = sum(kill.before.failed + kill.after.failed for kill in found)
    verdict = (
        f"**{'met' if not failed else 'missed'}**: {failed} of "
        f"{sum(kill.before.requests + kill.after.requests for kill in found)} requests failed (goal 0). With two "
        "replicas what the dead one held is sent to the other; with one it waits for its successor."
    )
    header = ["replicas", "back, s", "p99 before, ms", "p99 after, ms", "worst, ms", "requests", "failed"]
    method = f"{rate:g} requests/s on a fixed schedule; SIGKILL to one replica, until as many serve again."
    return page("A replica is killed under load", verdict, method, table(header, rows), load=load)


if __name__ == "__main__":
    main()
