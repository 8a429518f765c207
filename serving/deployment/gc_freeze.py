"""Keeps the garbage collector from going through what a process has loaded, once it serves."""

from __future__ import annotations

import gc
from typing import Final

#: Allocations between collections of the young generation. What is made per request holds no lasting cycles.
_YOUNG: Final = 50_000


def freeze_loaded_objects() -> None:
    """Call when a process is ready: modules, Ray and the model are here to stay, and are not looked at again.

    Without it each full collection walks half a million objects, and all requests of that moment wait for it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 10)
