"""Run it: `python -m loadtests.losses > docs/results/request-log.md`; about eight minutes, Linux only."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from loadtests.bench.machine import describe_machine
from loadtests.losses.scene import Balance, Scene, scene
from loadtests.waiting import wait_until

_ROUTERS: Final = ("routers=2",)
_LITTLE_ROOM: Final = ("spool-max-bytes=1MiB", "spool-segment-bytes=256KiB")
_HEAD: Final = """\
<!-- Generated: python -m loadtests.losses > docs/results/request-log.md -->
# What the request log loses

Each line is a whole gateway with two routers under {rate:g} requests/s from 16 kept-alive connections, every answer's
id held against the records in the stream at the end. *Cut off* are requests whose connection died: nobody was answered,
so a record is allowed and none is owed. *Lost* is the promise: answered, and no record. *Repeated* lie in the stream
more than once; readers leave them out, and *doubled* is what they would still count twice.

Machine: {machine}.

| what happened | sent | answered | cut off | records | lost | repeated | doubled | counted as dropped |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
"""
_TAIL: Final = """
Accounting: `requests = logged + sampled_out + dropped` held in every line, and `logged` was the number of records in
the stream. In the last line answered - records = dropped, exactly.
"""


@click.command(context_settings={"show_default": True})
@click.argument("scenes", nargs=-1, type=click.Choice(["kills", "busy", "outage", "bound"]))
@click.option("--rate", default=500.0, help="Requests per second.")
@click.option("--kills", default=20, help="How often a router is killed.")
@click.option("--away", default=60.0, help="Seconds for which Redis is away.")
def main(scenes: tuple[str, ...], rate: float, kills: int, away: float) -> None:
    """Print the page, or the lines of SCENES; exit with 1 when a record was lost or the accounting is wrong."""
    machine = describe_machine()
    named = f"{machine['cores']} cores ({machine['processor']}), Python {machine['Python']}, Ray {machine['ray']}"
    if not scenes:
        sys.stdout.write(_HEAD.format(rate=rate, machine=named))
    played = {
        "kills": lambda folder: play_kills(folder, rate, kills),
        "busy": lambda folder: play_busy(folder, rate, kills),
        "outage": lambda folder: play_outage(folder, rate, away),
        "bound": lambda folder: play_bound(folder, rate),
    }
    with tempfile.TemporaryDirectory(prefix="loss-", ignore_cleanup_errors=True) as name:
        are_well = [played[scene](Path(name, scene)) for scene in scenes or played]
    if not scenes:
        sys.stdout.write(_TAIL)
    sys.exit(0 if all(are_well) else 1)


def play_kills(folder: Path, rate: float, kills: int) -> bool:
    """Kill routers."""
    with scene(folder, *_ROUTERS, rate=rate) as there:
        kill_routers(there, kills)
        return _line(f"{kills} times SIGKILL of a router", there.balance())


def play_busy(folder: Path, rate: float, kills: int) -> bool:
    """Kill routers that get little processor time."""
    with scene(folder, *_ROUTERS, rate=rate) as there, busy_processes():
        kill_routers(there, kills)
        return _line("the same, other programs wanting every core", there.balance())


def play_outage(folder: Path, rate: float, away: float) -> bool:
    """Take Redis away, with room for what waits."""
    with scene(folder, *_ROUTERS, rate=rate) as there:
        take_store_away(there, away)
        return _line(f"Redis away for {away:g} s", there.balance())


def play_bound(folder: Path, rate: float) -> bool:
    """Take Redis away, without."""
    with scene(folder, *_ROUTERS, *_LITTLE_ROOM, rate=rate) as there:
        fill_spools(there)
        return _line("Redis away, spools of 1 MiB full", there.balance(), allowed_to_drop=True)


def kill_routers(there: Scene, times: int) -> None:
    """Kill a router at a random moment, again and again, as soon as both are there and at work."""
    chance = random.Random(0)
    for number in range(times):
        routers = wait_until(lambda: _both(there), what="two routers")
        time.sleep(chance.uniform(0.2, 1.5))
        there.kill(chance.choice(routers))
        wait_until(lambda: len(there.routers()) < 2, what="the kill")
        print(f"kill {number + 1}: {len(there.load.answered)} answered", file=sys.stderr)
    wait_until(lambda: _both(there), what="two routers")


@contextmanager
def busy_processes() -> Iterator[None]:
    """Let as many other programs as there are cores compete for processor time."""
    command = [sys.executable, "-c", "while True: pass"]
    programs = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def take_store_away(there: Scene, seconds: float) -> None:
    """Let Redis be away in the midst of the load."""
    time.sleep(5.0)
    there.store.stop()
    time.sleep(seconds)
    there.store.start()
    time.sleep(5.0)


def fill_spools(there: Scene) -> None:
    """Keep Redis away until records drop, and some seconds more."""
    time.sleep(3.0)
    there.store.stop()
    wait_until(lambda: there.accounting().get("dropped"), what="a record to drop")
    time.sleep(5.0)
    there.store.start()
    time.sleep(5.0)


def _both(there: Scene) -> list[int]:
    routers = there.routers()
    return routers if len(routers) == 2 else []


def _line(what: str, found: Balance, *, allowed_to_drop: bool = False) -> bool:
    """Print a line of the table; tell whether all is as promised."""
    dropped = sum(found.accounting["dropped"].values())
    lost = "-" if allowed_to_drop else f"{found.lost:,}"
    cells = [found.sent, found.answered, found.cut_off, found.records]
    line = [what, *(f"{cell:,}" for cell in cells), lost, f"{found.repeated:,}", f"{found.doubled:,}", f"{dropped:,}"]
    sys.stdout.write("| " + " | ".join(line) + " |\n")
    sys.stdout.flush()
    print(found, file=sys.stderr)
    is_balanced = found.accounting["requests"] == found.records + dropped
    is_complete = found.lost == (dropped if allowed_to_drop else 0)
    return is_balanced and is_complete and not found.doubled and (allowed_to_drop or not dropped)


if __name__ == "__main__":
    main()
