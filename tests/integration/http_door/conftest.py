"""What all tests of the HTTP door look at: a router with one echo version, and a connection to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from serving.backends.echo import EchoBackend
from tests.data_plane import DataPlane, running_data_plane
from tests.raw_http import RawPeer, raw_peer


@pytest_asyncio.fixture
async def plane(valkey_socket: Path) -> AsyncIterator[DataPlane]:
    """Patient for a second and a body of 64 KiB."""
    limits: dict[str, Any] = {"request_timeout_s": 1, "keep_alive_s": 1, "max_body_bytes": 64 * 1024}
    async with running_data_plane(f"unix://{valkey_socket}", **limits) as running:
        await running.add_replica(1, EchoBackend())
        await running.set_policy(variants=[{"name": "stable", "version": 1, "weight": 10_000}])
        yield running


@pytest_asyncio.fixture
async def peer(plane: DataPlane) -> AsyncIterator[RawPeer]:
    """One connection to it."""
    async with raw_peer(plane.settings.http_port) as connected:
        yield connected
