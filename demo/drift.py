"""`make demo-drift`: a year in minutes, in which the model of January and February ages.

It meets March to December, labels come days late, and the ladder climbs: a Warning, a Critical, and a request for a
retraining that a local receiver takes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import click
import httpx
import msgspec
import numpy as np
from rich.console import Console

from demo.flights import FEATURES, MODEL, Flights, data_folder, read_flights
from router.cli.child_gateway import ChildFailed, ChildGateway
from router.cli.client import AdminClient, GatewayRefusal, GatewayUnreachable
from router.cli.location import Node, connect
from router.monitor.incident import Transition

_READY_S: Final = 90.0
#: How long Ctrl-C waits for the gateway to end in order.
STOP_S: Final = 12.0
#: Flights in one request.
_ROWS: Final = 100
#: About a week of flights: the profile knows how far columns wander from week to week.
_WINDOW_ROWS: Final = 6400
#: Days from a prediction to its label.
_LABEL_DELAY: Final = 2
#: How long the monitor may need for the last labels.
_SETTLE_S: Final = 5.0


class Received:
    """What the receiver has heard from the gateway, and which day of 2013 it was then."""

    def __init__(self) -> None:
        self.day = np.datetime64("2013-03-01")
        self.transitions: list[tuple[np.datetime64, Transition]] = []
        self.retrainings: list[dict[str, Any]] = []

    def first(self, severity: str) -> np.datetime64 | None:
        """Return the day on which an incident first had a severity."""
        return next((day for day, each in self.transitions if each.incident.severity == severity), None)


@click.command(context_settings={"show_default": True})
@click.option("--seconds-a-day", default=0.5, help="Least time that a day of 2013 takes.")
def main(seconds_a_day: float) -> None:
    """Replay March to December against the model of January and February and watch it age."""
    console = Console(highlight=False)
    try:
        with tempfile.TemporaryDirectory(prefix="drift-") as folder, receiver() as (url, received):
            sys.exit(run(console, Path(folder) / "state", url, received, seconds_a_day))
    except KeyboardInterrupt:
        console.print("ended")
    except (ChildFailed, GatewayUnreachable, GatewayRefusal) as error:
        console.print(f"[red]the demo cannot go on:[/] {error}")
        sys.exit(1)


def run(console: Console, state_dir: Path, url: str, received: Received, seconds_a_day: float) -> int:
    """Do everything in order; return 0 when there were a Warning, a Critical and a request for a retraining."""
    os.environ.update(  # noqa: TID251 - the gateway reads its settings there
        {
            "ORT_DISABLE_TELEMETRY": "1",
            "SHEPHERD_MONITOR_WINDOW_ROWS": str(_WINDOW_ROWS),
            "SHEPHERD_WEBHOOK_HOSTS": "127.0.0.1",
            "SHEPHERD_INCIDENT_WEBHOOKS": f"{url}/events",
            "SHEPHERD_RETRAIN_URL": f"{url}/retrain",
        }
    )
    console.print("reading the flights of 2013 …")
    flights = read_flights(data_folder())
    from demo.publish import publish_missing  # slow to import: scikit-learn, MLflow

    publish_missing(state_dir, flights, say=console.print, versions=1)
    console.print("starting the gateway …")
    with ChildGateway(state_dir, stop_s=STOP_S) as gateway:
        node = gateway.wait_for("/v2/health/ready", _READY_S)
        with connect(state_dir, None, None) as admin:
            policy = {"model": MODEL, "variants": [{"name": "stable", "version": 1, "weight": 10_000}]}
            admin.create_policy(MODEL, policy, "demo of drift: one model, all year")
            gateway.wait_for(f"/v2/models/{MODEL}/ready", _READY_S)
            replay(console, flights.months(3, 12).labelled(), node, received, seconds_a_day)
            conclude(console, admin, received)
    found = received.first("warning"), received.first("critical"), received.retrainings
    return 0 if all(found) else 1


def replay(console: Console, flights: Flights, node: Node, received: Received, seconds_a_day: float) -> None:
    """Ask for each day's flights, and post the labels of the days before."""
    waiting: list[tuple[np.datetime64, list[dict[str, Any]]]] = []
    shown = 0
    with httpx.Client(base_url=f"{node.http}/v2/models/{MODEL}", timeout=30.0, trust_env=False) as client:
        for day in np.unique(flights.date):
            began = time.monotonic()
            received.day = day
            waiting.append((day, ask(client, flights, np.flatnonzero(flights.date == day))))
            while waiting and waiting[0][0] <= day - np.timedelta64(_LABEL_DELAY, "D"):
                client.post("/feedback", json={"labels": waiting.pop(0)[1]}).raise_for_status()
            time.sleep(max(0.0, seconds_a_day - (time.monotonic() - began)))
            shown = show_news(console, received, shown)
        for _, labels in waiting:
            client.post("/feedback", json={"labels": labels}).raise_for_status()
    time.sleep(_SETTLE_S)
    show_news(console, received, shown)


def ask(client: httpx.Client, flights: Flights, rows: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Ask for the delays of some flights; return their labels, by request, to be posted when they are known."""
    labels = []
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        data = flights.features[part].ravel().tolist()
        tensor = {"name": "features", "datatype": "FP32", "shape": [len(part), len(FEATURES)], "data": data}
        answer = client.post("/infer", content=msgspec.json.encode({"inputs": [tensor]})).raise_for_status()
        request_id = answer.headers["x-shepherd-request-id"]
        labels.append({"request_id": request_id, "label": flights.late[part].tolist()})
    return labels


def show_news(console: Console, received: Received, shown: int) -> int:
    """Print what has come since; return how much has been printed."""
    news = received.transitions[shown:]
    for day, each in news:
        reason = f": {each.reason}" if each.reason else ""
        console.print(f"  {day}  {each.incident.id}  {each.act} ({each.incident.severity}){reason}", soft_wrap=True)
    return shown + len(news)


def conclude(console: Console, admin: AdminClient, received: Received) -> None:
    """Say how early the first Warning came, and how the model did by its labels at the end."""
    warning, critical = received.first("warning"), received.first("critical")
    if warning is not None and critical is not None:
        incident = next(each.incident.id for _, each in received.transitions if each.incident.severity == "critical")
        own = next(day for day, each in received.transitions if each.incident.id == incident)
        console.print(
            f"lead time to the first Critical: {_days(warning, critical)} days of data from the first Warning,"
            f" {_days(own, critical)} from the one that became it",
            soft_wrap=True,
        )
    for each in received.retrainings:
        console.print(f"asked for a retraining: {each['incident']}, data {each['data_window']}", soft_wrap=True)
    for arm in admin.performance(MODEL)["versions"][0]["arms"]:
        lines = {name: round(found["value"], 3) for name, found in arm["metrics"].items()}
        console.print(
            f"{arm['labelled']} of {arm['answers']} requests labelled; latest metrics: {lines}", soft_wrap=True
        )


def _days(start: np.datetime64, end: np.datetime64) -> int:
    return int((end - start) / np.timedelta64(1, "D"))


@contextmanager
def receiver() -> Iterator[tuple[str, Received]]:
    """Run a receiver of webhooks on loopback; give its URL and what it has received."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/retrain":
                received.retrainings.append(body)
            else:
                received.transitions.append((received.day, msgspec.convert(body["data"], Transition)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    main()
