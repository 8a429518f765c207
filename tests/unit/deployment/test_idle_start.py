"""A start yields to what serves, and is not forgotten on a machine that is full."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serving.deployment.idle_start import _may_be_raised, idle_start

ROOT = Path(__file__).parents[3]

needs_privilege = pytest.mark.skipif(not _may_be_raised(), reason="needs CAP_SYS_NICE, or `ulimit -e 20`")


class Helper:
    """A thread that waits until it is told to end."""

    def __init__(self) -> None:
        self._may_end = threading.Event()
        self._thread = threading.Thread(target=self._may_end.wait)
        self._thread.start()

    @property
    def policy(self) -> int:
        assert self._thread.native_id is not None
        return os.sched_getscheduler(self._thread.native_id)

    def end(self) -> None:
        self._may_end.set()
        self._thread.join()


@needs_privilege
def test_a_start_and_the_threads_that_it_begins_yield_and_are_ordinary_afterwards() -> None:
    """Those of a runtime's pool go on serving; threads that were there before are left alone."""
    before = Helper()
    with idle_start():
        begun = Helper()
        assert os.sched_getscheduler(0) == begun.policy == os.SCHED_IDLE
        assert before.policy == os.SCHED_OTHER

    assert os.sched_getscheduler(0) == begun.policy == os.SCHED_OTHER
    begun.end()
    before.end()


@needs_privilege
def test_a_start_that_fails_leaves_nothing_behind() -> None:
    """Whoever goes on in this process does so as an ordinary one."""
    with pytest.raises(KeyError), idle_start():
        raise KeyError
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@needs_privilege
def test_a_start_that_takes_long_yields_no_longer() -> None:
    """On full cores it would never end."""
    with idle_start(limit_s=0.01):
        deadline = time.monotonic() + 30
        while os.sched_getscheduler(0) == os.SCHED_IDLE:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        begun = Helper()
        assert begun.policy == os.SCHED_OTHER
    begun.end()


def test_without_the_privilege_to_end_it_nothing_yields() -> None:
    """An ordinary user could not raise it again."""
    program = (
        "import os, resource\n"
        "from serving.deployment.idle_start import idle_start\n"
        "resource.setrlimit(resource.RLIMIT_NICE, (0, 0))\n"
        "os.geteuid() or os.setuid(65534)\n"
        "with idle_start():\n"
        "    assert os.sched_getscheduler(0) == os.SCHED_OTHER\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
