"""Ticks at a fixed rate, by a timer of the kernel: never early, and late only as long as the process is not scheduled.

An event loop's own timers are rounded to milliseconds, which at 200 requests/s is what there is to measure.
Linux: timerfd_create(2), which Python has from 3.13 on.
"""

from __future__ import annotations

import ctypes
import os
import time
from types import TracebackType
from typing import Final, Self

_CLOCK_MONOTONIC: Final = 1
_ABSOLUTE_TIME: Final = 1
_NS: Final = 1_000_000_000


class _TimeSpec(ctypes.Structure):
    """struct timespec."""

    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _TimerSpec(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = [("interval", _TimeSpec), ("first", _TimeSpec)]


class Metronome:
    """A file descriptor that is readable when ticks are due; to be closed, or used as a context manager."""

    def __init__(self, rate: float) -> None:
        """Begin now, with a tick; `rate` is in ticks per second.

        Raises:
            OSError: the kernel grants no timer.
        """
        self._interval_ns = round(_NS / rate)
        self._started_ns = time.monotonic_ns()
        self._ticks = 0
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        interval = _TimeSpec(*divmod(self._interval_ns, _NS))
        first = _TimeSpec(*divmod(self._started_ns, _NS))
        if libc.timerfd_settime(self._fd, _ABSOLUTE_TIME, ctypes.byref(_TimerSpec(interval, first)), None):
            error = ctypes.get_errno()
            self.close()
            raise OSError(error, "timerfd_settime")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the timer back."""
        os.close(self._fd)

    def fileno(self) -> int:
        """For selectors and event loops."""
        return self._fd

    def due(self) -> list[float]:
        """Take the ticks that are due and were not taken yet, each as its time in monotonic seconds."""
        try:
            count = int.from_bytes(os.read(self._fd, 8), "little")
        except BlockingIOError:
            return []
        first, self._ticks = self._ticks, self._ticks + count
        return [(self._started_ns + number * self._interval_ns) / _NS for number in range(first, self._ticks)]
