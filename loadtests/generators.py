"""Load generators written in C, which this machine must have: finding them, and what it means when they fail."""

from __future__ import annotations

import shutil


class LoadFailed(Exception):
    """The load did not run, or not every request was answered well: the figures would mean nothing."""


def require_generator(program: str, *, package: str) -> str:
    """Find a load generator; `package` is Debian's that has it.

    Raises:
        LoadFailed: it is not installed; says how to install it.
    """
    found = shutil.which(program)
    if found is None:
        raise LoadFailed(f"{program} is not installed; on Debian: apt-get install {package}")
    return found
