"""Runs wrk, a load generator in C, and reads what it measured."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import msgspec

from loadtests.generators import LoadFailed, require_generator

_SCRIPT: Final = Path(__file__).with_name("post.lua")


class Load(msgspec.Struct, frozen=True):
    """One run of wrk. Its loop is closed: each connection sends when its last answer has come."""

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    refused: int
    """Answers with a status above 399."""
    lost: int
    """Requests without an answer: connection, read, write or time-out."""

    @property
    def requests_per_s(self) -> float:
        """Throughput over the run."""
        return self.requests / self.duration_us * 1e6


def require_wrk() -> str:
    """Find the program.

    Raises:
        LoadFailed: it is not installed; says how to install it.
    """
    return require_generator("wrk", package="wrk")


def run_wrk(url: str, bodies: Path, *, connections: int, seconds: int) -> Load:
    """Post the lines of `bodies` to `url` over keep-alive connections, from one thread.

    Raises:
        LoadFailed: wrk failed, or any request was refused or lost.
    """
    command: list[str | Path] = [
        require_wrk(),
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        _SCRIPT,
        url,
        "--",
        bodies,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    if ended.returncode != 0:
        raise LoadFailed(f"wrk ended with {ended.returncode}: {ended.stderr.strip() or ended.stdout.strip()}")
    return read_result(ended.stdout)


def read_result(printed: str) -> Load:
    """Read the line of JSON with which `post.lua` ends.

    Raises:
        LoadFailed: it is missing, or tells of requests that were refused or lost.
    """
    try:
        load = msgspec.json.decode(printed.strip().rpartition("\n")[2], type=Load)
    except msgspec.DecodeError:
        raise LoadFailed(f"wrk reported no result: {printed.strip()[-500:]}") from None
    if load.refused or load.lost or not load.requests:
        raise LoadFailed(f"of {load.requests} requests {load.refused} were refused and {load.lost} lost")
    return load
