"""Locust's way in: users for a gateway that runs, and thresholds that fail the run.

`locust -f loadtests/locustfile.py --headless -u 20 -t 60s -H http://127.0.0.1:8000 --model flight-delay --html a.html`
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtests.rows import read_subject
from loadtests.thresholds import Outcome, Thresholds, violations
from loadtests.users import BINARY, GRPC, JSON, TIMEOUT_S, BinaryUser, GrpcUser, JsonUser

__all__ = ["BinaryUser", "GrpcUser", "JsonUser"]

_log = logging.getLogger(__name__)


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Ask for the model and the limits."""
    parser.add_argument("--model", default="flight-delay", help="Model to ask.")
    parser.add_argument("--grpc-host", default="", help="HOST:PORT of gRPC; the HTTP host's port 8001 when left out.")
    parser.add_argument("--fail-ratio", type=float, default=0.0, help="Largest share of failed requests, 0 to 1.")
    parser.add_argument("--fail-p95-ms", type=float, default=500.0, help="Largest 95th percentile of latency.")
    parser.add_argument(
        "--moving-traffic", action="store_true", help="The policy changes meanwhile: customers may change version."
    )


@events.init.add_listener
def prepare_users(environment: Environment, **_: Any) -> None:
    """Find out what the model takes before the clock starts and the first user asks."""
    options, host = environment.parsed_options, environment.host
    if options is None or host is None:
        raise SystemExit("name the gateway: -H http://127.0.0.1:8000")
    # A gRPC call that is torn away can lock its library up: let users finish what they have asked.
    environment.stop_timeout = environment.stop_timeout or 2 * TIMEOUT_S
    try:
        subject = read_subject(host, options.model)
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot play users: {error}") from None
    for user in (JsonUser, BinaryUser, GrpcUser):
        user.subject = subject
        user.grpc_host = options.grpc_host or f"{urlsplit(host).hostname}:8001"
        if options.moving_traffic:
            user.stickiness = None


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Fail the run when a limit was passed."""
    options, runner = environment.parsed_options, environment.runner
    assert options is not None, "Locust parses its command line before it runs"
    outcomes = [
        Outcome(name, entry.num_requests, entry.num_failures, entry.get_response_time_percentile(0.95))
        for (name, _method), entry in environment.stats.entries.items()
    ]
    found = violations(Thresholds(options.fail_ratio, options.fail_p95_ms), outcomes, (JSON, BINARY, GRPC))
    for violation in found:
        _log.error(violation)
    environment.process_exit_code = 1 if found or (runner is not None and runner.exceptions) else 0
