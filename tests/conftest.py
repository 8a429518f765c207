"""What tests of several folders share."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, ParamSpec
from uuid import uuid4

import pytest
from hypothesis import settings

from tests.sharing import END_TO_END, GatewayApart
from tests.valkey import running_valkey, short_folder

_P = ParamSpec("_P")
#: How long before pytest's own time limit an asynchronous test is ended.
_EARLIER_S = 5.0

# How long an example takes says more about the machine than about the law.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def valkey_socket() -> Iterator[Path]:
    """The Unix socket of a Valkey shared by the whole run: keep tests apart by key prefix."""
    with short_folder() as folder, running_valkey(folder) as socket:
        yield socket


@pytest.fixture
def prefix() -> str:
    """Keeps one test's keys in the shared Valkey apart from the others'."""
    return f"test-{uuid4()}:"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GatewayApart:
    """Say how processes share the run."""
    return GatewayApart(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put end-to-end tests first where processes share the run; end asynchronous ones before their time limit.

    The traceback then shows what a test waits for. That of the limit itself would show the selector of the event loop.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(END_TO_END))
    usual_s = float(config.getini("timeout"))
    for item in items:
        if isinstance(item, pytest.Function) and iscoroutinefunction(item.obj):
            marker = item.get_closest_marker("timeout")
            limit_s = float(marker.args[0]) if marker else usual_s
            item.obj = _ended_after(limit_s - _EARLIER_S, item.obj)


def _ended_after(limit_s: float, test: Callable[_P, Awaitable[None]]) -> Callable[_P, Awaitable[None]]:
    @functools.wraps(test)
    async def limited(*args: _P.args, **kwargs: _P.kwargs) -> None:
        async with asyncio.timeout(limit_s):
            await test(*args, **kwargs)

    return limited
