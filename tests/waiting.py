"""Waiting in a test's event loop until something is so, however long the machine takes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

_PATIENCE_S = 30.0
"""Only a broken test waits so long."""


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition`, a function or a coroutine function, gives something true."""
    async with asyncio.timeout(_PATIENCE_S):
        while not await _value(condition):
            await asyncio.sleep(0.002)


async def _value(condition: Callable[[], object]) -> object:
    found = condition()
    return await found if inspect.isawaitable(found) else found
