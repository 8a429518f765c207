"""Measures what a shadow of every request that misbehaves does to the primary's p99: rounds with it and without.

`python -m loadtests.shadow_isolation` starts a gateway, sends requests on a fixed schedule, and switches the shadow on
and off between rounds. What is compared is the median over neighbouring rounds: the machine's own moods hit both of a
pair. The shadow's processes run in both: only what they are asked to do makes the difference.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import click
from rich.console import Console

from loadtests.model import build_classifier, build_deep, random_rows, v2_json
from loadtests.result_page import ProgressLog, describe_load, page, progress_shown, publish, table
from loadtests.server import Gateway, ServerFailed
from loadtests.steady import Latency, SteadyLoad, latency

MODEL: Final = "isolated"
_FEATURES: Final = 16
#: Units of a layer whose 30 MB of weights each run reads: milliseconds, and little is left in the caches.
_WIDE: Final = 400_000
#: Layers of 256 units, which stay in a core's own cache: ten milliseconds.
_DEEP: Final = 4000
_START_S: Final = 120.0
_GOAL: Final = 0.10
#: After a switch, until routers and replicas have settled.
_SETTLE_S: Final = 0.5
#: Versions that shadow, by what they do: the primary is version 1.
_SHADOW_OF: Final = {"computes": 2, "streams": 3, "hangs": 2, "dies": 2}
#: What the shadow does with every request.
FAULTS: Final = {
    "computes": "milliseconds of a core for each row, in the core's own cache",
    "streams": "milliseconds of a core for each row, for which it reads 30 MB",
    "hangs": "its process is stopped (SIGSTOP): connections stay, answers never come",
    "dies": "its process is killed (SIGKILL) as the round begins, and loaded again meanwhile",
}


class Pair(NamedTuple):
    """Two neighbouring rounds."""

    fault: str
    rate: float
    without: Latency
    with_it: Latency


@click.command(context_settings={"show_default": True})
@click.option("--fault", "faults", multiple=True, type=click.Choice(list(FAULTS)), default=list(FAULTS))
@click.option("--rate", "rates", multiple=True, type=float, default=[100.0, 1000.0], help="Requests per second.")
@click.option("--pairs", default=6, type=click.IntRange(min=1), help="Pairs of rounds.")
@click.option("--seconds", default=4.0, help="Length of a round.")
@click.option("--keep", is_flag=True, help="Write the page to loadtests/results.")
def main(faults: Sequence[str], rates: Sequence[float], pairs: int, seconds: float, keep: bool) -> None:  # noqa: FBT001 - click's way
    """Measure and print; exit with 1 when a primary failed."""
    console = Console()
    load = describe_load()
    try:
        with (
            progress_shown(console) as progress,
            tempfile.TemporaryDirectory(prefix="isolation-", ignore_cleanup_errors=True) as folder,
        ):
            found = measure(Path(folder), faults, rates, pairs, seconds, progress)
    except ServerFailed as error:
        console.print(f"[red]could not run:[/] {error}", highlight=False)
        sys.exit(1)
    publish(console, render(found, seconds, load), "shadow-isolation", is_kept=keep)
    sys.exit(1 if any(pair.without.failed + pair.with_it.failed for pair in found) else 0)


def measure(  # noqa: PLR0917 - what the command line says
    folder: Path, faults: Sequence[str], rates: Sequence[float], pairs: int, seconds: float, progress: ProgressLog
) -> list[Pair]:
    """Run the pairs, the order within a pair alternating."""
    progress.doing("starting a gateway")
    with Gateway(folder / "state") as gateway:
        gateway.wait_for("/v2/health/ready", timeout_s=_START_S)
        gateway.wait_until_operable(timeout_s=_START_S)
        for onnx in (build_classifier(), build_deep(layers=_DEEP), build_classifier(hidden=_WIDE)):
            _register(gateway, onnx)
        for fault in faults:
            _switch(gateway, _SHADOW_OF[fault], on=True)  # loads it
        gateway.wait_for(f"/v2/models/{MODEL}/ready", timeout_s=_START_S)
        found = []
        for fault in faults:
            for rate in rates:
                for number in range(pairs):
                    results = {}
                    for on in (False, True) if number % 2 else (True, False):
                        progress.doing(
                            f"{fault} at {rate:g}/s, pair {number + 1} of {pairs}, {'with' if on else 'without'}"
                        )
                        results[on] = _round(gateway, fault, rate, seconds, on=on)
                    found.append(Pair(fault, rate, results[False], results[True]))
                    progress.found(_line(found[-1]))
        return found


def _round(gateway: Gateway, fault: str, rate: float, seconds: float, *, on: bool) -> Latency:
    """Play one round, after a moment to settle; the shadow's process is well again afterwards."""
    version = _SHADOW_OF[fault]
    _switch(gateway, version, on=on)
    (shadow,) = _living(gateway, version)
    if on and fault == "hangs":
        os.kill(shadow, signal.SIGSTOP)
    body = v2_json(random_rows(1, _FEATURES))
    try:
        with SteadyLoad(gateway.http_port, f"/v2/models/{MODEL}/infer", body, rate=rate) as load:
            time.sleep(_SETTLE_S)
            began = time.monotonic()
            if on and fault == "dies":
                os.kill(shadow, signal.SIGKILL)
            time.sleep(seconds)
    finally:
        if fault == "hangs":
            os.kill(shadow, signal.SIGCONT)
    return latency(load.answers, since=began)


def _living(gateway: Gateway, version: int) -> list[int]:
    """Find the shadow's process, waiting for it to be back."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        found = [pid for pid in gateway.replicas(MODEL, version) if Path(f"/proc/{pid}").exists()]
        if found:
            return found
        time.sleep(0.2)
    raise ServerFailed(f"the shadow did not come back: {gateway.last_words()}")


def _switch(gateway: Gateway, version: int, *, on: bool) -> None:
    """Shadow everything or nothing."""
    gateway.route(MODEL, ("stable", 1, 10_000), shadows=[{"version": version, "sample": 10_000 if on else 0}])


def _register(gateway: Gateway, onnx: bytes) -> None:
    with gateway.admin() as admin:
        admin.register(MODEL, onnx, example=v2_json(random_rows(1, _FEATURES)))


def change(pairs: Sequence[Pair], name: str) -> float:
    """Sum up what the shadow does to a figure: the median over the pairs of with / without - 1."""
    changes: list[float] = [getattr(pair.with_it, name) / getattr(pair.without, name) - 1 for pair in pairs]
    return statistics.median(changes)


def _grouped(found: Sequence[Pair]) -> dict[tuple[str, float], list[Pair]]:
    groups: dict[tuple[str, float], list[Pair]] = {}
    for pair in found:
        groups.setdefault((pair.fault, pair.rate), []).append(pair)
    return groups


def render(found: Sequence[Pair], seconds: float, load: str) -> str:
    """Write the page."""
    rows = []
    for (fault, rate), pairs in _grouped(found).items():
        rounds = [each for pair in pairs for each in (pair.without, pair.with_it)]
        medians = [
            statistics.median(getattr(each, name) for each in side)
            for name in ("p50_ms", "p99_ms")
            for side in ([pair.without for pair in pairs], [pair.with_it for pair in pairs])
        ]
        cells = [fault, f"{rate:g}", *(f"{cell:.2f}" for cell in medians)]
        cells += [f"{change(pairs, name):+.1%}" for name in ("p50_ms", "p99_ms")]
        rows.append([*cells, str(sum(each.requests for each in rounds)), str(sum(each.failed for each in rounds))])
    header = ["shadow", "requests/s", "p50 ms", "with it", "p99 ms", "with it", "p50", "p99", "requests", "failed"]
    method = (
        f"Every request of a small model is mirrored to a shadow that misbehaves. Pairs of rounds of {seconds:g} s "
        "with and without it, in turn; the changes are medians over the pairs."
    )
    p99s = [change(each, "p99_ms") for each in _grouped(found).values()]
    failed = sum(each.failed for pair in found for each in (pair.without, pair.with_it))
    met = "met" if max(p99s) <= _GOAL and not failed else "missed"
    verdict = (
        f"**{met}**: {failed} primaries failed (goal 0); p99 with the shadow {min(p99s):+.0%} to {max(p99s):+.0%}, by "
        f"what it does and the rate (goal {_GOAL:+.0%} at most)."
    )
    faults = "\n".join(f"- **{fault}**: {FAULTS[fault]}" for fault in dict.fromkeys(pair.fault for pair in found))
    each = [_line(pair) for pair in found]
    return page(
        "Primaries beside a shadow that misbehaves",
        verdict,
        method,
        faults,
        table(header, rows),
        *_listed(each),
        load=load,
    )


def _listed(lines: Sequence[str]) -> list[str]:
    return ["## Each pair", "\n".join(f"- {line}" for line in lines)]


def _line(pair: Pair) -> str:
    off, on = pair.without, pair.with_it
    return (
        f"{pair.fault} at {pair.rate:g}/s: p50 {off.p50_ms:.2f} → {on.p50_ms:.2f} ms, "
        f"p99 {off.p99_ms:.2f} → {on.p99_ms:.2f} ms, failed {off.failed + on.failed}"
    )


if __name__ == "__main__":
    main()
