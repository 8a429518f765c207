"""Logs of processes: shared by those of one kind, and bounded, whoever writes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BOUND = 20_000
#: Logs numbered lines of a process by its name into the folder.
PROGRAM = f"""
import logging, sys
from pathlib import Path
from serving.deployment.process_log import log_to
folder, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
log_to(folder, "router", "info", most_bytes={BOUND})
for number in range(count):
    logging.getLogger("router.test").info("%s wrote line %d of many", name, number)
"""
LINE = re.compile(r"^[-\d]+ [:,\d]+ INFO \d+ router\.test: (\w+) wrote line (\d+) of many$")


def log(folder: Path, names: Sequence[str], count: int) -> None:
    """Have processes of these names log so many lines each at the same time."""
    commands = [[sys.executable, "-c", PROGRAM, str(folder), name, str(count)] for name in names]
    started = [subprocess.Popen(command) for command in commands]
    assert [each.wait(60) for each in started] == [0] * len(names)


def lines(path: Path) -> list[tuple[str, int]]:
    found = [LINE.match(line) for line in path.read_text().splitlines()]
    assert all(found), path
    return [(each[1], int(each[2])) for each in found if each]


def test_a_log_keeps_its_end_within_its_bound(tmp_path: Path) -> None:
    """The file and one old one, which together hold the last lines without a gap."""
    log(tmp_path, ["one"], 2000)
    new, old = tmp_path / "router.log", tmp_path / "router.log.1"
    kept = [number for _, number in [*lines(old), *lines(new)]]

    assert sorted(path.name for path in tmp_path.iterdir()) == ["router.log", "router.log.1"]
    assert kept == list(range(2000 - len(kept), 2000))
    assert BOUND <= old.stat().st_size < BOUND + 200
    assert new.stat().st_size < BOUND


def test_processes_that_share_a_log_bound_it_together_and_spoil_no_line(tmp_path: Path) -> None:
    """Of those that find it full, one moves it away; the others follow."""
    log(tmp_path, ["one", "two", "three", "four"], 1000)
    found = [tmp_path / "router.log", tmp_path / "router.log.1"]

    assert sorted(tmp_path.iterdir()) == found
    assert all(path.stat().st_size < BOUND + 1000 for path in found)
    assert {name for path in found for name, _ in lines(path)} <= {"one", "two", "three", "four"}


def test_a_log_that_somebody_else_moves_away_is_begun_anew(tmp_path: Path) -> None:
    """As a rotation from outside does."""
    log(tmp_path, ["one"], 10)
    (tmp_path / "router.log").rename(tmp_path / "moved.log")
    log(tmp_path, ["two"], 10)

    assert lines(tmp_path / "moved.log") == [("one", number) for number in range(10)]
    assert lines(tmp_path / "router.log") == [("two", number) for number in range(10)]
