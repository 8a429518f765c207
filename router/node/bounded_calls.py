"""Calls that must not hang us: into a cluster that may have died under us."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


def within(timeout_s: float, function: Callable[[], object]) -> bool:
    """Call in another thread; tell whether it ended in time. Its failure is reported and counts as an end."""

    def call() -> None:
        try:
            function()
        except Exception:  # noqa: BLE001 - it is called on the way out, where the next step matters more
            _log.exception("%r failed", function)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return not thread.is_alive()
