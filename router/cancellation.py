"""Makes a cancellation stick."""

from __future__ import annotations

import asyncio


def end_if_cancelled() -> None:
    """Raise `CancelledError` in a task that was cancelled and has lost it: a Redis client that is just connecting,
    sending or giving back a connection, may swallow it, and a loop around it would go on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
