"""Redis clients: what a call does when Redis fails it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from router.adapters.redis.client import asyncio_client, blocking_client
from tests.valkey import short_folder


class Server:
    """Accepts connections and drops each as soon as it was asked something: calls may have taken effect."""

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = Thread(target=self._drop_all)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._thread.is_alive():
            self._thread.join()

    def _drop_all(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.recv(4096)


@contextmanager
def _server() -> Iterator[Server]:
    with short_folder() as folder:
        server = Server(folder / "redis.sock")
        try:
            yield server
        finally:
            server.stop()


def test_a_blocking_call_that_fails_is_not_repeated() -> None:
    """It may have taken effect; the caller decides."""
    with _server() as server, blocking_client(server.url, timeout_s=30) as client:
        server.start()

        with pytest.raises(RedisConnectionError):
            client.ping()
    assert server.connections == 1


@pytest.mark.asyncio
async def test_an_asyncio_call_that_fails_is_not_repeated() -> None:
    """It may have taken effect; the caller decides."""
    with _server() as server:
        async with asyncio_client(server.url, timeout_s=30) as client:
            server.start()

            with pytest.raises(RedisConnectionError):
                await client.get("key")
    assert server.connections == 1


def test_a_blocking_call_does_not_wait_for_ever() -> None:
    """A server that hangs is one that failed."""
    with (
        _server() as server,
        blocking_client(server.url, timeout_s=0.05) as client,
        pytest.raises(RedisError, match="Timeout"),
    ):
        client.ping()


@pytest.mark.asyncio
async def test_an_asyncio_call_does_not_wait_for_ever() -> None:
    """A server that hangs is one that failed."""
    with _server() as server:
        async with asyncio_client(server.url, timeout_s=0.05) as client:
            with pytest.raises(RedisError, match="Timeout"):
                await client.get("key")
