"""Runs h2load, a load generator in C for HTTP/2 and HTTP/1.1, and reads what it measured."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import quantiles
from typing import Final

import msgspec

from loadtests.generators import LoadFailed, require_generator

_RATE: Final = re.compile(r"finished in [\d.]+m?s, ([\d.]+) req/s")
_REQUESTS: Final = re.compile(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed")
#: More latencies than this say nothing more about a median or a 99th percentile.
_KEPT: Final = 200_000


class Target(msgspec.Struct, frozen=True):
    """What to send where."""

    url: str
    body: Path
    headers: Mapping[str, str]
    http1: bool = False


class Measured(msgspec.Struct, frozen=True):
    """One run. Its loop is closed: each stream, or HTTP/1.1 connection, sends when its last answer has come."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


def require_h2load() -> str:
    """Find the program.

    Raises:
        LoadFailed: it is not installed; says how to install it.
    """
    return require_generator("h2load", package="nghttp2-client")


def run_h2load(target: Target, *, streams: int, seconds: int) -> Measured:
    """Post over one HTTP/2 connection with so many streams, or over so many HTTP/1.1 connections.

    Raises:
        LoadFailed: h2load failed, or an answer had another HTTP status than 200.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "requests.log")
        width = ["--h1", f"-c{streams}"] if target.http1 else ["-c1", f"-m{streams}"]
        headers = [f"-H{name}: {value}" for name, value in target.headers.items()]
        command: list[str | Path] = [require_h2load(), f"-D{seconds}", *width, "-d", target.body, *headers]
        command += [f"--log-file={log}", target.url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
        lines = log.read_text().splitlines() if log.exists() else []
    return read_result(ended.stdout + ended.stderr, lines)


def read_result(printed: str, log: list[str]) -> Measured:
    """Read what h2load printed, and its log: a line with start (µs), HTTP status and duration (µs) per request.

    Raises:
        LoadFailed: there is no result, or a request failed.
    """
    rate, requests = _RATE.search(printed), _REQUESTS.search(printed)
    if rate is None or requests is None or not log:
        raise LoadFailed(f"h2load reported no result: {printed.strip()[-500:]}")
    statuses = {line.split("\t")[1] for line in log}
    if statuses != {"200"} or int(requests[3]):
        raise LoadFailed(f"answers with status {', '.join(sorted(statuses))}; {requests[3]} failed")
    latencies = [int(line.rpartition("\t")[2]) / 1e3 for line in log[-_KEPT:]]
    cuts = quantiles(latencies, n=100, method="inclusive")
    return Measured(float(rate[1]), cuts[49], cuts[98])
