"""Whoever was at work when a process died is known afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from serving.deployment.hosting.crash_marks import Marks, read_marked

DIES_AT_WORK = """
import os, sys
from pathlib import Path
from serving.deployment.hosting.crash_marks import Marks
marks = Marks(Path(sys.argv[1]))
marks.claim("idle/1")
done = marks.claim("done/1")
done.set(); done.clear()
marks.claim("flights/3").set()
os.kill(os.getpid(), 9)
"""


def test_who_was_at_work_when_its_process_was_killed_is_named(tmp_path: Path) -> None:
    """And nobody else: neither who was idle nor who had returned."""
    path = tmp_path / "marks"
    subprocess.run([sys.executable, "-c", DIES_AT_WORK, str(path)], check=False)
    assert read_marked(path) == {"flights/3"}


def test_a_process_that_leaves_in_order_leaves_nobody_suspected(tmp_path: Path) -> None:
    """Even in the middle of a run."""
    marks = Marks(tmp_path / "marks")
    marks.claim("a/1").set()
    marks.close()
    assert read_marked(tmp_path / "marks") == frozenset()


def test_a_mark_that_was_released_names_nobody_and_is_given_to_the_next(tmp_path: Path) -> None:
    """Guests come and go."""
    path = tmp_path / "marks"
    marks = Marks(path)
    marks.claim("a/1").set()
    marks.release("a/1")
    assert read_marked(path) == frozenset()
    marks.claim("b/2").set()
    assert read_marked(path) == {"b/2"}


def test_a_process_that_leaves_late_does_not_clear_its_successors_marks(tmp_path: Path) -> None:
    """Ray Serve may start the next process before the last one has ended."""
    path = tmp_path / "marks"
    first = Marks(path)
    second = Marks(path)
    second.claim("a/1").set()
    first.close()
    assert read_marked(path) == {"a/1"}
