"""SIGHUP asks, SIGINT and SIGTERM end."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from router.node.signals import Interrupted, handling_signals

_PROGRAM = """
import signal, sys
from router.node.signals import Interrupted, handling_signals
with handling_signals():
    try:
        print("ready", flush=True)
        signal.pause()
    except Interrupted:
        sys.exit(7)
"""


def test_a_hangup_is_a_wish() -> None:
    """And may be one again."""
    with handling_signals() as asked:
        assert not asked.is_set()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked.wait(5)
            asked.clear()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_of_the_others_ends_and_more_change_nothing(number: signal.Signals) -> None:
    """So that the stop runs to its end; afterwards all is as before."""
    before = signal.getsignal(number)

    with handling_signals():
        with pytest.raises(Interrupted):
            signal.raise_signal(number)
        os.kill(os.getpid(), number)

    assert signal.getsignal(number) is before


def test_a_terminal_that_is_closed_ends_what_was_started_from_it() -> None:
    """Nobody would ever find it again."""
    terminal, ours = pty.openpty()
    program = [sys.executable, "-c", _PROGRAM]
    root = Path(__file__).parents[3]
    with subprocess.Popen(program, stdin=ours, stdout=subprocess.PIPE, cwd=root, start_new_session=True) as started:
        os.close(ours)
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        os.close(terminal)
        started.send_signal(signal.SIGHUP)

        assert started.wait(20) == 7
