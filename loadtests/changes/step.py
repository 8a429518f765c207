"""Raises the load tenfold in a step, and lowers it again: do replicas follow in time, and is no request lost.

`python -m loadtests.changes.step` serves an echo that takes 20 ms and holds no core, so that replicas, and not this
machine's cores, are what is short. One replica answers 50 requests a second at most.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import click
from rich.console import Console

from loadtests.changes.scene import ECHO_BODY, MODEL, PATH, START_S, register_echo, scene, serve
from loadtests.result_page import ProgressLog, describe_load, page, publish, table
from loadtests.server import Gateway, ServerFailed
from loadtests.steady import Latency, SteadyLoad, latency

_DELAY_MS: Final = 20
_LOW_RATE: Final = 15.0
_STEP: Final = 10
_LOW_S: Final = 5.0
_GOAL_S: Final = 15.0
_MOST_REPLICAS: Final = 8


class Step(NamedTuple):
    """One step up and down."""

    grown_s: float
    """From the step to as many replicas as the load needs, connected."""
    calm_s: float
    """From the step to the last request that took over ten times what the model takes."""
    most: int
    """Replicas at most."""
    shrunk_s: float
    """From the end of the load to one replica."""
    low: Latency
    high: Latency


@click.command(context_settings={"show_default": True})
@click.option("--steps", default=3, type=click.IntRange(min=1))
@click.option("--high-s", default=25.0, help="Length of the high load.")
@click.option("--keep", is_flag=True, help="Write the page to loadtests/results.")
def main(steps: int, high_s: float, keep: bool) -> None:  # noqa: FBT001 - click's way
    """Measure and print; exit with 1 when a request failed."""
    console = Console()
    load = describe_load()
    with scene(console, "scale-down-delay-s=3") as (gateway, progress):
        bounds = {"shepherd.min_replicas": "1", "shepherd.max_replicas": str(_MOST_REPLICAS)}
        slow = {"shepherd.echo.delay_ms": str(_DELAY_MS), "shepherd.max_batch": "1"}
        register_echo(gateway, slow | bounds | {"shepherd.target_in_flight": "2"})
        serve(gateway)
        found = []
        for number in range(1, steps + 1):
            progress.doing(f"step {number} of {steps}")
            found.append(_step(gateway, high_s, progress))
    publish(console, render(found, load), "step", is_kept=keep)
    sys.exit(1 if any(step.low.failed + step.high.failed for step in found) else 0)


def _step(gateway: Gateway, high_s: float, progress: ProgressLog) -> Step:
    needed = -(-int(_LOW_RATE * _STEP * _DELAY_MS) // 1000)
    counts: list[tuple[float, int]] = []
    with SteadyLoad(gateway.port, PATH, ECHO_BODY, rate=_LOW_RATE) as low:
        time.sleep(_LOW_S)
        with SteadyLoad(gateway.port, PATH, ECHO_BODY, rate=_LOW_RATE * (_STEP - 1)) as high:
            stepped = time.monotonic()
            while time.monotonic() < stepped + high_s:
                counts.append((time.monotonic(), _count(gateway)))
                time.sleep(0.1)
        fallen = time.monotonic()
        while _count(gateway) > 1:
            if time.monotonic() > fallen + START_S:
                raise ServerFailed("the replicas did not go")
            time.sleep(0.1)
        shrunk_s = time.monotonic() - fallen
    grown_at = next((at for at, count in counts if count >= needed), float("inf"))
    late = [answer.due for answer in high.answers if answer.latency_s * 1e3 > 10 * _DELAY_MS]
    step = Step(
        grown_at - stepped,
        max(late, default=stepped) - stepped,
        max(count for _, count in counts),
        shrunk_s,
        latency(low.answers),
        latency(high.answers),
    )
    failed = step.low.failed + step.high.failed
    progress.found(
        f"enough replicas after {step.grown_s:.1f} s, calm after {step.calm_s:.1f} s, {step.most} at most, one again "
        f"after {step.shrunk_s:.1f} s, worst {step.high.worst_ms:.0f} ms, failed {failed} of "
        f"{step.low.requests + step.high.requests}"
    )
    return step


def _count(gateway: Gateway) -> int:
    with suppress(OSError):
        return len(gateway.replicas(MODEL, 1))
    return 0


def render(found: Sequence[Step], load: str) -> str:
    """Write the page."""
    rows = [
        [
            str(number),
            *(f"{step.grown_s:.1f}", f"{step.calm_s:.1f}", str(step.most), f"{step.shrunk_s:.1f}"),
            *(f"{step.high.p50_ms:.0f}", f"{step.high.worst_ms:.0f}"),
            *(str(step.low.requests + step.high.requests), str(step.low.failed + step.high.failed)),
        ]
        for number, step in enumerate(found, 1)
    ]
    failed = sum(step.low.failed + step.high.failed for step in found)
    calm_s = statistics.median(step.calm_s for step in found)
    verdict = (
        f"**{'met' if calm_s <= _GOAL_S and not failed else 'missed'}**: latency is back within ten times the model's "
        f"{calm_s:.1f} s after the step (median, goal {_GOAL_S:g}); {failed} of "
        f"{sum(step.low.requests + step.high.requests for step in found)} requests failed (goal 0)."
    )
    method = (
        f"An echo that takes {_DELAY_MS} ms, one request at a time in each replica; {_LOW_RATE:g} requests/s, then "
        f"{_LOW_RATE * _STEP:g}, then {_LOW_RATE:g}, which a single replica can bear; 1 to {_MOST_REPLICAS} replicas, "
        "reaction times as by default but `scale_down_delay_s` 3."
    )
    header = [
        *("step", "enough replicas, s", "calm, s", "most", "one again, s"),
        *("p50 ms", "worst, ms", "requests", "failed"),
    ]
    return page("Load grows tenfold in a step, and falls", verdict, method, table(header, rows), load=load)


if __name__ == "__main__":
    main()
