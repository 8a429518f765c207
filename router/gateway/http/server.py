"""The HTTP server of one router: a shared port, our protocol class, uvicorn's lifecycle."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import uvicorn

from router.gateway.http.exchange import InferService
from router.gateway.http.http2.connection import Http2Connection
from router.gateway.http.protocol import ShepherdProtocol, protocol_class

RenewTls = Callable[[ssl.SSLContext], Coroutine[Any, Any, None]]
"""Keeps a server's certificates up to date until it is cancelled."""

_BACKLOG: Final = 2048


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process belongs to Ray."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def open_shared_socket(host: str, port: int) -> socket.socket:
    """Bind a port that the other routers of this node bind too; the kernel spreads connections over them.

    Raises:
        OSError: somebody else has the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


class HttpServer:
    """Serves until `close`, which lets every request in flight finish."""

    def __init__(
        self,
        app: Any,
        service: InferService,
        *,
        keep_alive_s: float,
        drain_timeout_s: float,
        tls: Mapping[str, Any] | None = None,
        renew_tls: RenewTls | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=protocol_class(service),
            ws="none",
            loop="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=max(1, round(keep_alive_s)),
            timeout_graceful_shutdown=max(1, round(drain_timeout_s)),
            **(tls or {}),
        )
        self._config = config
        self._server = _Server(config)
        self._beside: asyncio.Server | None = None
        self._keep_alive_s = keep_alive_s
        self._receiving_s = service.request_timeout_s
        self._serving: asyncio.Task[None] | None = None
        self._renew_tls = renew_tls
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def connections(self) -> int:
        """Open client connections."""
        return len(self._server.server_state.connections)

    async def start(self, sock: socket.socket) -> None:
        """Listen; returns when connections are accepted."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[sock]), name="http-server")
        while not self._server.started:
            if self._serving.done():
                await self._serving
            await asyncio.sleep(0.005)
        connections: Any = self._server.server_state.connections
        sweep = sweep_connections(connections, idle_s=self._keep_alive_s, receiving_s=self._receiving_s)
        self._tasks.append(asyncio.create_task(sweep, name="http-sweep"))
        if self._config.ssl is not None and self._renew_tls is not None:
            self._tasks.append(asyncio.create_task(self._renew_tls(self._config.ssl), name="http-certificates"))

    async def listen_for_envoy(self, path: Path, service: InferService) -> None:
        """Take inferences from Envoy on a Unix socket as well, in whatever form `service` matches.

        The connections count as the server's own, so that `close` lets them finish too.
        """
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # noqa: ASYNC240 - once, before anybody is served
        connections = self._server.server_state.connections
        self._beside = await asyncio.get_running_loop().create_unix_server(
            lambda: Http2Connection(service, connections), str(path), backlog=_BACKLOG
        )

    async def close(self) -> None:
        """Stop accepting, finish what is in flight, hang up."""
        for task in self._tasks:
            task.cancel()
        if self._beside:
            self._beside.close()
        self._server.should_exit = True
        if self._serving:
            await self._serving


async def sweep_connections(
    connections: set[asyncio.Protocol], *, idle_s: float, receiving_s: float, every_s: float = 0.5
) -> None:
    """Close stale connections for as long as the task lives: one look at all of them instead of a timer per request."""
    while True:
        await asyncio.sleep(every_s)
        now = time.monotonic()
        for connection in list(connections):
            if isinstance(connection, ShepherdProtocol | Http2Connection):
                connection.close_if_stale(now, idle_s, receiving_s)
