"""Processes forked from one that has imported what they need: milliseconds each, where hundreds live and die."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

_CONTEXT = multiprocessing.get_context("forkserver")
_IMPORTED: list[str] = []


def processes_of(module: str) -> ForkServerContext:
    """Make a context whose processes have the module ready; ask when the module is imported, before any is started.

    There is one server for all modules, and the standard library keeps only the last list that it was given.
    """
    _IMPORTED.append(module)
    _CONTEXT.set_forkserver_preload(_IMPORTED)
    return _CONTEXT
