"""The scrape target of a node as a raw ASGI app: GET /metrics, nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from serving.telemetry.catalog import UNREADABLE_FILES
from serving.telemetry.exposition import render
from serving.telemetry.folder import read_folder
from serving.telemetry.snapshot import Snapshot, merge

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_log = logging.getLogger(__name__)


def metrics_app(folder: Path) -> _App:
    """Build the app that merges and renders what the processes of this node have left in `folder`."""

    async def app(scope: _Message, _receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            return
        if (scope["method"], scope["path"]) != ("GET", "/metrics"):
            await _answer(send, 404, b"only GET /metrics lives here\n")
            return
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
        try:
            # Off the loop: it waits for the disk, and for another reader's lock.
            body, content_type = await asyncio.to_thread(scrape, folder, accept)
        except OSError:
            _log.exception("Cannot read the metrics of this node in %s", folder)
            await _answer(send, 503, b"the metrics of this node cannot be read; its log says why\n")
        else:
            await _answer(send, 200, body, content_type)

    return app


def scrape(folder: Path, accept: str = "") -> tuple[bytes, str]:
    """Read, merge and render: the body of a scrape and its content type.

    Raises:
        OSError: the folder is not there or not accessible.
    """
    reading = read_folder(folder)
    about_itself = Snapshot(gauges={UNREADABLE_FILES.name: {(): reading.unreadable}})
    return render(merge([reading.snapshot, about_itself]), accept)


async def _answer(send: _Send, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
