"""`make demo`: train, serve, split, mirror, replay, show; Ctrl-C ends all of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any, Final

import click
from rich.console import Console

from demo.flights import MODEL, data_folder, read_flights
from demo.replay import CUSTOMER_HEADER
from demo.show import Show
from router.cli.child_gateway import ChildFailed, ChildGateway
from router.cli.client import AdminClient, GatewayRefusal, GatewayUnreachable
from router.cli.location import connect, read_settings

POLICY: Final[dict[str, Any]] = {
    "model": MODEL,
    "sticky": {"by": "header", "name": CUSTOMER_HEADER},
    "variants": [
        {"name": "stable", "version": 1, "weight": 9000},
        {"name": "canary", "version": 2, "weight": 1000},
    ],
    "shadows": [{"version": 3, "sample": 2000}],
}

_READY_S: Final = 90.0
#: How long Ctrl-C waits for the gateway to end in order.
STOP_S: Final = 12.0


@click.command(context_settings={"show_default": True})
@click.option("--rate", default=200.0, envvar="DEMO_RATE", type=click.FloatRange(min=1), help="Requests per second.")
@click.option("--seconds", default=0.0, envvar="DEMO_SECONDS", help="End by itself after this long; 0 goes on.")
def main(rate: float, seconds: float) -> None:
    """Serve two delay models and a shadow, and replay the flights of 2013 from March on as live traffic."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    console = Console()
    try:
        sys.exit(run(console, rate, seconds or None))
    except KeyboardInterrupt:
        console.print("ended")
    except (ChildFailed, GatewayUnreachable, GatewayRefusal) as error:
        console.print(f"[red]the demo cannot go on:[/] {error}", highlight=False)
        sys.exit(1)


def run(console: Console, rate: float, seconds: float | None) -> int:
    """Do everything in order; whatever ends it, the gateway is ended too.

    Returns:
        An exit code for scripts: 0 when every request was answered with a prediction.
    """
    # onnxruntime, which MLflow loads, would write a device id into the home directory and report to its makers.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # noqa: TID251
    state_dir = read_settings({}).settings.state_dir
    console.print("reading the flights of 2013 …")
    flights = read_flights(data_folder())
    from demo.publish import publish_missing  # slow to import: scikit-learn, MLflow

    # Before the gateway starts, so that the two do not wait for each other at the registry's one sqlite file.
    publish_missing(state_dir, flights, say=console.print)
    console.print("starting the gateway …")
    with ChildGateway(state_dir, stop_s=STOP_S) as gateway:
        node = gateway.wait_for("/v2/health/ready", _READY_S)
        with connect(state_dir, None, None) as admin:
            console.print("loading the versions, then giving them traffic …")
            set_policy(admin)
            gateway.wait_for(f"/v2/models/{MODEL}/ready", _READY_S)
            show = Show(console, flights.months(3, 12), node, rate)
            try:
                asyncio.run(show.run(admin, seconds, gateway.check))
            finally:
                show.conclude()
    return 0 if show.flawless else 1


def set_policy(admin: AdminClient) -> None:
    """Write the demo's policy unless one stands: what an operator changed stays."""
    if admin.policy(MODEL) is None:
        admin.create_policy(MODEL, POLICY, "demo: two months' models at 90/10, a third in the shadow")


if __name__ == "__main__":
    main()
