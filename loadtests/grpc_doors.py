"""gRPC side by side, `python -m loadtests.grpc_doors`: our two doors, the bare bridge and a real Triton, one model.

A second comparison sends a 600 KB image, as raw gRPC and as binary HTTP, beside a bare app. Needs h2load.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import grpc
import msgspec

from loadtests.bench.findings import Comparison, Sample, rows
from loadtests.bench.machine import describe_commit, describe_machine
from loadtests.generators import LoadFailed
from loadtests.grpc_requests import IMAGE, SMALL, Case
from loadtests.h2load import Target, require_h2load, run_h2load
from loadtests.processes import free_ports
from loadtests.server import Gateway, Server, ServerFailed

_RESULTS: Final = Path(__file__).parent / "results"
_START_S: Final = 120.0
_BARE, _TRITON, _ENVOY, _AIO = "bare bridge", "Triton", "gateway, Envoy", "gateway, grpc.aio"


_METHOD: Final = (
    "Load by h2load (one thread, one HTTP/2 connection; over HTTP/1.1 as many connections) on the same machine. All "
    "share its cores: read the ratios, which are medians of the rounds' own."
)


class Result(msgspec.Struct, frozen=True):
    """Everything that the result file holds."""

    date: str
    command: str
    commit: str
    machine: Mapping[str, str]
    rounds: int
    seconds: int
    comparisons: tuple[Comparison, ...]


@click.command(context_settings={"show_default": True})
@click.option("--rounds", default=5, type=click.IntRange(min=1), help="Rounds; figures are their medians.")
@click.option("--seconds", default=5, type=click.IntRange(min=1), help="Length of each measurement.")
@click.option("--streams", default="1,16,64", help="Streams of the one connection, in turn.")
@click.option("--without-triton", is_flag=True, help="Leave Triton out: its environment takes a download to make.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=_RESULTS, help="For the results.")
def main(rounds: int, seconds: int, streams: str, without_triton: bool, output: Path) -> None:  # noqa: FBT001 - click's way
    """Measure all contenders in turn, and write page and data."""
    widths = [int(width) for width in streams.split(",")]
    comparisons = []
    try:
        require_h2load()
        for case, names in (
            (SMALL, [_BARE, *([] if without_triton else [_TRITON]), _ENVOY, _AIO]),
            (IMAGE, ["bare app, HTTP", "gateway, HTTP", _BARE, _ENVOY, _AIO]),
        ):
            with tempfile.TemporaryDirectory(prefix="doors-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
                targets = _start(case, names, Path(name), stack)
                chosen = widths if case is SMALL else widths[:2]
                comparisons.append(_compare(case.title, targets, rounds, seconds, chosen))
    except (LoadFailed, ServerFailed) as error:
        sys.exit(f"the benchmark failed: {error}")
    result = Result(
        date=datetime.now(UTC).date().isoformat(),
        command=shlex.join(["python", "-m", "loadtests.grpc_doors", *sys.argv[1:]]),
        commit=describe_commit(),
        machine=describe_machine(),
        rounds=rounds,
        seconds=seconds,
        comparisons=tuple(comparisons),
    )
    output.mkdir(parents=True, exist_ok=True)
    page = render(result)
    (output / f"{result.date}-grpc-doors.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    (output / f"{result.date}-grpc-doors.md").write_text(page)
    print(page)


def render(result: Result) -> str:
    """Write the page."""
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    parts = [
        f"# gRPC doors, {result.date}",
        f"`{result.command}` at commit `{result.commit}`, on {machine}.",
        f"Medians of {result.rounds} rounds of {result.seconds} s each, contenders in turn. {_METHOD}",
    ]
    for comparison in result.comparisons:
        body_bytes = IMAGE.body_bytes if comparison.title == IMAGE.title else 0
        lines = [f"| streams | contender | calls/s | MB/s | to {comparison.baseline} | p50 ms | p99 ms |"]
        lines += ["|--:|---|--:|--:|--:|--:|--:|"]
        for row in rows(comparison):
            rate = f"{row.requests_per_s * body_bytes / 1e6:,.0f}" if body_bytes else ""
            lines.append(
                f"| {row.connections} | {row.contender} | {row.requests_per_s:,.0f} | {rate} | {row.ratio:.2f} "
                f"| {row.p50_ms:.3f} | {row.p99_ms:.3f} |"
            )
        parts += [f"## {comparison.title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _start(case: Case, names: Sequence[str], folder: Path, stack: ExitStack) -> dict[str, Target]:
    """Start contenders and see that each gives the right answer."""
    model, grpc_body, http_body = case.write(folder)
    gateways: dict[str, Gateway] = {}

    def gateway(door: str) -> Gateway:
        if door not in gateways:
            running = stack.enter_context(Gateway(folder / door, f"grpc-door={door}"))
            _prepare(running, case, model)
            gateways[door] = running
        return gateways[door]

    def start(name: str) -> Target:
        if name == "gateway, HTTP":
            return case.over_http(gateway("envoy").http_port, http_body, path=f"/v2/models/{case.model}/infer")
        if name == "bare app, HTTP":
            (port,) = free_ports(1)
            stack.enter_context(
                _server(["loadtests.bare_grpc", "--http", "--model", model, "--port", port], port, folder)
            )
            return case.over_http(port, folder / "raw.bin", path="/raw")
        if name == _BARE:
            (port,) = free_ports(1)
            stack.enter_context(_server(["loadtests.bare_grpc", "--model", model, "--port", port], port, folder))
        elif name == _TRITON:
            http_port, port = free_ports(2)
            arguments = ["loadtests.triton", "--model", model, "--name", case.model, "--folder", folder / "triton"]
            (folder / "triton").mkdir()
            stack.enter_context(_server([*arguments, "--http-port", http_port, "--grpc-port", port], http_port, folder))
        else:
            port = gateway("envoy" if name == _ENVOY else "aio").grpc_port
        _await_answer(f"127.0.0.1:{port}", grpc_body.read_bytes()[5:], lambda answer: case.is_right(model, answer))
        return case.over_grpc(port, grpc_body)

    return {name: start(name) for name in names}


def _server(arguments: Sequence[object], port: int, folder: Path) -> Server:
    return Server([str(argument) for argument in arguments], port=port, log=folder / "servers.log")


def _prepare(gateway: Gateway, case: Case, model: Path) -> None:
    """Give a gateway the model and a policy."""
    gateway.wait_for("/v2/health/ready", timeout_s=_START_S)
    gateway.wait_until_operable(timeout_s=_START_S)
    version = gateway.register(case.model, model, case.example(model.parent))
    share = f"stable={version}:100%"
    gateway.shepherd("traffic", "set", case.model, share, "--sticky", "header:x-user-id", "--reason", "benchmark")


def _await_answer(address: str, message: bytes, is_right: Callable[[bytes], bool]) -> None:
    """Call until there is an answer.

    Raises:
        ServerFailed: it is a wrong one, or there is none in time; the speed of either would mean nothing.
    """
    deadline = time.monotonic() + _START_S
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options) as channel:
        infer: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        while True:
            try:
                answer = infer(message, timeout=10)
                break
            except grpc.RpcError as error:
                if time.monotonic() > deadline:
                    raise ServerFailed(f"no answer at {address}: {error}") from None
                time.sleep(0.1)
    if not is_right(answer):
        raise ServerFailed(f"a wrong answer at {address}: {answer[:200]!r}")


def _compare(title: str, targets: Mapping[str, Target], rounds: int, seconds: int, widths: Sequence[int]) -> Comparison:
    """Measure in turn, each round beginning with another contender."""
    names = list(targets)
    for target in targets.values():
        run_h2load(target, streams=max(widths), seconds=2)
    samples = []
    for turn in range(rounds):
        start = turn % len(names)
        for width in widths:
            for name in names[start:] + names[:start]:
                measured = run_h2load(targets[name], streams=width, seconds=seconds)
                print(
                    f"round {turn + 1}/{rounds} {width:>3} streams  {name:<18}{measured.requests_per_s:>9,.0f}/s",
                    flush=True,
                )
                samples.append(Sample(name, width, turn, measured.requests_per_s, measured.p50_ms, measured.p99_ms))
    return Comparison(title, names[0], tuple(samples))


if __name__ == "__main__":
    main()
