"""Does a CPU-bound shadow of every request move the primary's p99? Rounds with and without it, in turn.

`python -m loadtests.shadow_isolation` starts a gateway, sends requests on a fixed schedule (an answer that is late
delays no other request, so waiting is not hidden), and switches the shadow on and off between rounds. The difference
is the median over neighbouring rounds: the machine's own moods hit both of a pair.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import click
import httpx

from loadtests.model import build_classifier, random_rows, v2_json
from loadtests.server import Gateway, ServerFailed

MODEL: Final = "isolated"
_FEATURES: Final = 16
#: Milliseconds of CPU for each row: two layers of this width, 64 bytes of weights a unit.
_HEAVY_HIDDEN: Final = 400_000
_START_S: Final = 120.0


class Round(NamedTuple):
    """What the primaries' clients saw in one round."""

    p50_ms: float
    p99_ms: float
    errors: int


@click.command(context_settings={"show_default": True})
@click.option("--pairs", default=6, type=click.IntRange(min=1), help="Pairs of rounds.")
@click.option("--seconds", default=5.0, help="Length of a round.")
@click.option("--rate", default=100.0, help="Requests per second.")
def main(pairs: int, seconds: float, rate: float) -> None:
    """Print each round and the change of p50 and p99; exit with 1 when a primary failed."""
    try:
        with tempfile.TemporaryDirectory(prefix="isolation-", ignore_cleanup_errors=True) as folder:
            rounds = measure(Path(folder), pairs, seconds, rate)
    except ServerFailed as error:
        click.echo(f"could not run: {error}", err=True)
        sys.exit(1)
    click.echo("| pair | p50 without | p50 with | p99 without | p99 with (ms) | errors |\n|---|---|---|---|---|---|")
    for number, (without, with_it) in enumerate(rounds, 1):
        cells = (without.p50_ms, with_it.p50_ms, without.p99_ms, with_it.p99_ms)
        click.echo(f"| {number} | {' | '.join(f'{cell:.2f}' for cell in cells)} | {without.errors + with_it.errors} |")
    for name in ("p50_ms", "p99_ms"):
        change = statistics.median(getattr(on, name) / getattr(off, name) - 1 for off, on in rounds)
        click.echo(f"{name[:3]}: {change:+.1%} (median of pairs)")
    sys.exit(1 if any(each.errors for pair in rounds for each in pair) else 0)


def measure(folder: Path, pairs: int, seconds: float, rate: float) -> list[tuple[Round, Round]]:
    """Run the pairs, the order within a pair alternating; each is (without, with)."""
    with Gateway(folder / "state") as gateway:
        gateway.wait_for("/v2/health/ready", timeout_s=_START_S)
        gateway.wait_until_operable(timeout_s=_START_S)
        primary, shadow = (_register(gateway, folder, hidden) for hidden in (32, _HEAVY_HIDDEN))
        gateway.shepherd("traffic", "set", MODEL, f"stable={primary}:100%", "--reason", "isolation")
        gateway.wait_for(f"/v2/models/{MODEL}/ready", timeout_s=_START_S)
        _switch(gateway, shadow, on=True)  # loads it
        found = []
        for pair in range(pairs):
            results = {}
            for on in (False, True) if pair % 2 else (True, False):
                _switch(gateway, shadow, on=on)
                asyncio.run(_play(gateway.http_port, rate, 1.0))
                results[on] = asyncio.run(_play(gateway.http_port, rate, seconds))
            found.append((results[False], results[True]))
        return found


def _switch(gateway: Gateway, version: int, *, on: bool) -> None:
    """Shadow everything or nothing; the shadow's processes stay, so only its work makes the difference."""
    sample = "100%" if on else "0%"
    gateway.shepherd("shadow", "add", MODEL, "--version", str(version), "--sample", sample)


def _register(gateway: Gateway, folder: Path, hidden: int) -> int:
    onnx, example = folder / f"{hidden}.onnx", folder / f"{hidden}.json"
    onnx.write_bytes(build_classifier(features=_FEATURES, hidden=hidden))
    example.write_bytes(v2_json(random_rows(1, _FEATURES)))
    return gateway.register(MODEL, onnx, example)


async def _play(port: int, rate: float, seconds: float) -> Round:
    body = v2_json(random_rows(1, _FEATURES))
    latencies: list[float] = []
    errors = 0
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:

        async def send(due: float) -> None:
            nonlocal errors
            try:
                answer = await client.post(f"/v2/models/{MODEL}/infer", content=body)
                errors += answer.status_code != httpx.codes.OK
            except httpx.HTTPError:
                errors += 1
            latencies.append(time.perf_counter() - due)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                due = started + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(send(due))
    cuts = statistics.quantiles(latencies, n=100)
    return Round(1e3 * cuts[49], 1e3 * cuts[98], errors)


if __name__ == "__main__":
    main()
