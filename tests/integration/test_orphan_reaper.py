"""What Ray leaves behind is ended, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from router.node.orphan_reaper import end_sessions, kill, start_reaper
from tests.gateway import eventually

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"


def stubborn_process() -> subprocess.Popen[bytes]:
    """A process that leads a session of its own and does not end when asked."""
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    with process.stdout as output:
        output.readline()
    return process


def test_a_reaper_ends_its_sessions_when_its_starter_is_gone_and_then_itself(tmp_path: Path) -> None:
    """The end of its standard input is what the death of the starter looks like."""
    guarded, bystander = stubborn_process(), stubborn_process()
    try:
        reaper = start_reaper([guarded.pid], tmp_path / "log")
        assert guarded.poll() is None
        reaper.communicate()
        assert reaper.returncode == 0
        assert guarded.wait(10) == -9
        assert bystander.poll() is None
    finally:
        end_sessions([guarded.pid, bystander.pid])
        eventually(lambda: bystander.poll() is not None, what="the bystander to end")


def test_a_process_that_has_ended_meanwhile_keeps_nobody_else_alive() -> None:
    """Between the look at the processes and their end, any of them may end by itself."""
    ended, stubborn = stubborn_process(), stubborn_process()
    ended.kill()
    ended.wait()
    kill([ended.pid, stubborn.pid])
    assert stubborn.wait(10) == -9
