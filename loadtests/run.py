"""`make loadtest`: start a gateway, give it two versions and a split, let Locust's users in, and judge."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from loadtests.model import build_classifier, random_rows, v2_json
from loadtests.server import Gateway, ServerFailed

MODEL: Final = "flight-delay"
#: As many features as the demo's flights have, so that the users send these.
_FEATURES: Final = 12
_START_S: Final = 120.0


@click.command(context_settings={"show_default": True})
@click.option("--users", default=20, type=click.IntRange(min=4), help="Users; each sends about 10 requests a second.")
@click.option("--seconds", default=20, type=click.IntRange(min=5), help="How long.")
@click.option("--fail-ratio", default=0.0, help="Largest share of failed requests, 0 to 1.")
@click.option("--fail-p95-ms", default=500.0, help="Largest 95th percentile of latency.")
@click.option(
    "--report",
    default=Path("build/loadtest.html"),
    type=click.Path(dir_okay=False, path_type=Path),
    help="HTML report.",
)
def main(users: int, seconds: int, fail_ratio: float, fail_p95_ms: float, report: Path) -> None:
    """Run a short headless load test against a gateway of its own; exit with 1 when a limit was passed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report.parent.mkdir(parents=True, exist_ok=True)
    limits = [f"--fail-ratio={fail_ratio}", f"--fail-p95-ms={fail_p95_ms}"]
    try:
        with tempfile.TemporaryDirectory(prefix="loadtest-", ignore_cleanup_errors=True) as folder:
            code = run(
                Path(folder), ["-u", str(users), "-r", str(users), "-t", f"{seconds}s", "--html", str(report), *limits]
            )
    except ServerFailed as error:
        click.echo(f"the load test could not run: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    click.echo(f"{'passed' if code == 0 else 'FAILED'}; report: {report}")
    sys.exit(code)


def run(folder: Path, arguments: list[str]) -> int:
    """Start the gateway on `folder`, run Locust with `arguments`, end the gateway; return Locust's exit code."""
    with Gateway(folder / "state") as gateway:
        gateway.wait_for("/v2/health/ready", timeout_s=_START_S)
        gateway.wait_until_operable(timeout_s=_START_S)
        stable, canary = (register(gateway, folder, seed) for seed in (1, 2))
        shares = (f"stable={stable}:90%", f"canary={canary}:10%")
        gateway.shepherd("traffic", "set", MODEL, *shares, "--sticky", "header:x-user-id", "--reason", "load test")
        gateway.wait_for(f"/v2/models/{MODEL}/ready", timeout_s=_START_S)
        command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py")), "--headless"]
        target = ["-H", f"http://127.0.0.1:{gateway.http_port}", "--grpc-host", f"127.0.0.1:{gateway.grpc_port}"]
        return subprocess.run([*command, *target, "--model", MODEL, *arguments], check=False).returncode


def register(gateway: Gateway, folder: Path, seed: int) -> int:
    """Register one version of the model; return its number."""
    onnx, example = folder / f"{seed}.onnx", folder / f"{seed}.json"
    onnx.write_bytes(build_classifier(features=_FEATURES, seed=seed))
    example.write_bytes(v2_json(random_rows(1, _FEATURES, seed=seed)))
    return gateway.register(MODEL, onnx, example)


if __name__ == "__main__":
    main()
