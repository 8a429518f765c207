"""Waiting for something of a gateway under measurement to become so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from loadtests.server import ServerFailed

T = TypeVar("T")


def wait_until(look: Callable[[], T], *, timeout_s: float = 120.0, what: str) -> T:
    """Return what `look` gives as soon as it is true.

    Raises:
        ServerFailed: it is not in time.
    """
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise ServerFailed(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.05)
    return found
