"""Measure the peers: `python -m loadtests.peers`; needs wrk, and installs each peer into an environment of its own.

Contenders run one at a time, so that none pays for another's idling; each round starts them all afresh.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from loadtests.bench.contest import PATH, Contest, Material
from loadtests.bench.findings import Comparison, Sample, rows
from loadtests.bench.machine import describe_commit, describe_machine
from loadtests.bench.wrk import require_wrk
from loadtests.generators import LoadFailed
from loadtests.peers.contenders import CONTENDERS, Start
from loadtests.peers.environments import NoEnvironment
from loadtests.server import ServerFailed

_RESULTS: Final = Path(__file__).parents[1] / "results"
_START_S: Final = 60.0
_CONNECTIONS: Final = (1, 16, 64)


class Result(msgspec.Struct, frozen=True):
    """Everything that the result file holds."""

    date: str
    commit: str
    machine: Mapping[str, str]
    rounds: int
    seconds: int
    comparison: Comparison
    absent: Mapping[str, str]
    """Contenders that could not be measured, with the reason."""


@click.command(context_settings={"show_default": True})
@click.option("--rounds", default=3, type=click.IntRange(min=1), help="Rounds; figures are their medians.")
@click.option("--seconds", default=4, type=click.IntRange(min=1), help="Length of each measurement.")
@click.option("--only", multiple=True, type=click.Choice(list(CONTENDERS)), help="Measure these; the bare app always.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=_RESULTS, help="For the results.")
def main(rounds: int, seconds: int, only: tuple[str, ...], output: Path) -> None:
    """Measure every contender, and write page and data."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    chosen = {name: start for name, start in CONTENDERS.items() if not only or name in {"bare app", *only}}
    try:
        require_wrk()
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=console) as progress:
            comparison, absent = measure(progress, chosen, rounds, seconds)
    except LoadFailed as error:
        sys.exit(f"the benchmark failed: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    result = Result(
        date=datetime.now(UTC).date().isoformat(),
        commit=describe_commit(),
        machine=describe_machine(),
        rounds=rounds,
        seconds=seconds,
        comparison=comparison,
        absent=absent,
    )
    output.mkdir(parents=True, exist_ok=True)
    page = render(result)
    (output / f"{result.date}-peers.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    (output / f"{result.date}-peers.md").write_text(page)
    print(page)


def measure(
    progress: Progress, contenders: Mapping[str, Start], rounds: int, seconds: int
) -> tuple[Comparison, dict[str, str]]:
    """Run the rounds; a contender that fails is left out from then on, with its reason."""
    task = progress.add_task("", total=None)
    absent: dict[str, str] = {}
    samples: list[Sample] = []

    def report(text: str) -> None:
        progress.update(task, description=text)
        progress.console.print(text, highlight=False)

    with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as folder:
        material = Material(Path(folder))
        contest = Contest(material, rounds=rounds, seconds=seconds, connections=_CONNECTIONS, report=report)
        for turn in range(rounds):
            for name, start in contenders.items():
                if name in absent:
                    continue
                report(f"starting {name}")
                place = Path(folder) / f"{name}-{turn}"
                place.mkdir()
                try:
                    with start(material, place) as server:
                        server.wait_for(PATH, material.request, timeout_s=_START_S)
                        samples += contest.measure(name, server, turn)
                except (LoadFailed, NoEnvironment, ServerFailed) as error:
                    report(f"{name} is left out: {error}")
                    absent[name] = str(error).splitlines()[0]
    measured = tuple(sample for sample in samples if sample.contender not in absent)
    return Comparison("Beside other servers", next(iter(contenders)), measured), absent


def render(result: Result) -> str:
    """Write the page."""
    found = rows(result.comparison)
    names = list(dict.fromkeys(row.contender for row in found))
    by_place = {(row.contender, row.connections): row for row in found}
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    lines = [
        "| contender | " + " | ".join(f"{n} connection{'s' * (n > 1)}" for n in _CONNECTIONS) + " |",
        "|---|" + "--:|" * len(_CONNECTIONS),
    ]
    for name in names:
        cells = [by_place[name, n] for n in _CONNECTIONS]
        texts = [f"{cell.requests_per_s:,.0f} ({cell.ratio:.2f}x; p99 {cell.p99_ms:.1f} ms)" for cell in cells]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    method = (
        "Requests/s of one small classifier, V2 JSON; in brackets the ratio to the bare app and the 99th percentile. "
        f"Medians of {result.rounds} rounds of {result.seconds} s; one contender runs at a time, with one worker; wrk "
        "(one thread) shares the machine's cores, so read the ratios. Only the gateway has policy, request log and "
        "drift monitor on; the others have none. Releases: `loadtests/peers/environments.py`."
    )
    parts = [
        f"# Beside other servers, {result.date}",
        f"`python -m loadtests.peers` at commit `{result.commit}`, on {machine}.",
        method,
        "\n".join(lines),
        *(f"{name} is absent: {reason}" for name, reason in result.absent.items()),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
