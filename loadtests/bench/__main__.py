"""Run the benchmark: `python -m loadtests.bench [--quick]`; needs wrk, and matplotlib for the picture."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from loadtests.bench.contest import MODEL, PATH, Contest, Material
from loadtests.bench.findings import BARE, GATEWAY, TUNED, WITHOUT_LOG, Comparison, Findings
from loadtests.bench.machine import describe_command, describe_commit, describe_machine
from loadtests.bench.page import render_page
from loadtests.bench.plot import draw
from loadtests.bench.wrk import require_wrk
from loadtests.generators import LoadFailed
from loadtests.processes import cpu_seconds, free_ports, memory_bytes
from loadtests.server import Gateway, Server, ServerFailed

_RESULTS: Final = Path(__file__).parents[1] / "results"
_START_S: Final = 120.0
_IDLE_S: Final = 5.0


@click.command(context_settings={"show_default": True})
@click.option(
    "--quick", is_flag=True, help="One short round, to see that it runs; prints, and writes only to --output."
)
@click.option("--rounds", default=5, type=click.IntRange(min=1), help="Rounds; figures are their medians.")
@click.option("--seconds", default=5, type=click.IntRange(min=1), help="Length of each measurement.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Folder of the results.")
def main(quick: bool, rounds: int, seconds: int, output: Path | None) -> None:  # noqa: FBT001 - click's way
    """Measure the gateway beside a bare uvicorn + onnxruntime app, and the cost of its request log."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    if quick:
        rounds, seconds = 1, 1
    try:
        require_wrk()
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console
        ) as progress:
            findings = measure(progress, rounds, seconds)
    except (LoadFailed, ServerFailed) as error:
        console.print(f"[red]the benchmark failed:[/] {error}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    folder = output or (None if quick else _RESULTS)
    page = write_results(findings, folder) if folder else render_page(findings, None)
    console.print(Markdown(page))


def measure(progress: Progress, rounds: int, seconds: int) -> Findings:
    """Start the contenders, load them in turn, end them."""
    task = progress.add_task("starting the gateway", total=None)

    def report(text: str) -> None:
        progress.update(task, description=text)
        progress.console.print(text, highlight=False)

    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name, ExitStack() as running:
        folder = Path(name)
        material = Material(folder)
        contest = Contest(material, rounds=rounds, seconds=seconds, connections=(1, 16, 64), report=report)
        first_start_s = prepare(folder / "state", material)
        gateway = running.enter_context(Gateway(folder / "state"))
        restart_s = gateway.wait_for(PATH, material.request, timeout_s=_START_S)
        report(f"ready after {first_start_s:.1f} s on an empty state directory; restarted in {restart_s:.1f} s")
        beside = compare_with_bare_apps(contest, material, folder, gateway)
        sizes = memory_bytes(gateway.pid)
        idle = idle_cpu_ratio(gateway.pid)
        log_cost = compare_without_log(contest, material, folder, gateway)
    return Findings(
        date=datetime.now(UTC).date().isoformat(),
        command=describe_command(),
        commit=describe_commit(),
        machine=describe_machine(),
        rounds=rounds,
        seconds=seconds,
        comparisons=(beside, log_cost),
        first_start_s=first_start_s,
        restart_s=restart_s,
        memory_bytes=sizes,
        idle_cpu_ratio=idle,
    )


def prepare(state: Path, material: Material, *settings: str) -> float:
    """Start a gateway on an empty state directory, give it the model and a sticky policy, and end it.

    Returns:
        Seconds until it was ready.
    """
    with Gateway(state, *settings) as gateway:
        ready_s = gateway.wait_for("/v2/health/ready", timeout_s=_START_S)
        gateway.wait_until_operable(timeout_s=_START_S)
        version = gateway.register(MODEL, material.model, material.example)
        share = f"stable={version}:100%"
        gateway.shepherd("traffic", "set", MODEL, share, "--sticky", "header:x-user-id", "--reason", "benchmark")
        gateway.wait_for(PATH, material.request, timeout_s=_START_S)
    return ready_s


def compare_with_bare_apps(contest: Contest, material: Material, folder: Path, gateway: Gateway) -> Comparison:
    """Measure the gateway, everything on, beside the simplest app and its tuned twin."""
    with ExitStack() as running:
        contenders: dict[str, Server] = {}
        for name, flags in ((BARE, ()), (TUNED, ("--tuned",))):
            (port,) = free_ports(1)
            arguments: list[str | Path] = [
                "loadtests.bench.bare_app",
                "--model",
                material.model,
                "--name",
                MODEL,
                "--port",
                str(port),
            ]
            server = Server([*arguments, *flags], port=port, log=folder / "bare.log")
            contenders[name] = running.enter_context(server)
            server.wait_for(PATH, material.request, timeout_s=_START_S)
        return contest.run("Beside a bare app", {**contenders, GATEWAY: gateway})


def compare_without_log(contest: Contest, material: Material, folder: Path, gateway: Gateway) -> Comparison:
    """Measure what the request log costs: the same gateway with it and without."""
    prepare(folder / "without-log", material, "no-log-enabled")
    with Gateway(folder / "without-log", "no-log-enabled") as silent:
        silent.wait_for(PATH, material.request, timeout_s=_START_S)
        return contest.run("Cost of the request log", {WITHOUT_LOG: silent, GATEWAY: gateway})


def idle_cpu_ratio(root: int) -> float:
    """Observe a process tree that nobody asks anything; return how many cores it uses."""
    before, started = cpu_seconds(root), time.monotonic()
    time.sleep(_IDLE_S)
    return (cpu_seconds(root) - before) / (time.monotonic() - started)


def write_results(findings: Findings, folder: Path) -> str:
    """Write data, picture and page; return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{findings.date}-bench"
    (folder / f"{stem}.json").write_bytes(msgspec.json.format(msgspec.json.encode(findings)) + b"\n")
    is_drawn = draw(findings, folder / f"{stem}.svg")
    page = render_page(findings, f"{stem}.svg" if is_drawn else None)
    (folder / f"{stem}.md").write_text(page, encoding="utf-8")
    return page


if __name__ == "__main__":
    main()
