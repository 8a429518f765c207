"""The ASGI side of the HTTP door: everything that is not an inference, and clean refusals. Raw ASGI.

Bodies here are small documents, bounded like any other by the connection (`http_connection`). An inference comes here
only when its path names no model that could exist.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from router.gateway.routes.table import Asked, MethodNotAllowedError, Reply, Routes
from router.gateway.statuses import STATUSES, retry_after
from serving.protocol.errors import ServingError

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_JSON: Final = b"application/json"
_TEXT: Final = b"text/plain; charset=utf-8"


class HttpApp:
    """The ASGI application of a router."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a client that leaves is not answered."""
        if scope["type"] != "http":
            raise NotImplementedError(f"only HTTP is spoken here, not {scope['type']}")
        try:
            handler, values = self._routes.find(scope["method"], scope["raw_path"])
            body = await _read_body(receive) if scope["method"] == "POST" else b""
            if body is None:
                return
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            reply = await handler(Asked(values, headers, body))
        except ServingError as error:
            reply = _refusal(error)
        except MethodNotAllowedError as error:
            reply = Reply({"error": str(error)}, 405, headers=((b"allow", error.allowed.encode()),))
        await _respond(send, reply)


async def _read_body(receive: Receive) -> bytes | None:
    """Read the whole body; None when the client has left."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _refusal(error: ServingError) -> Reply:
    wait_s = retry_after(error.kind)
    headers = ((b"retry-after", b"%d" % wait_s),) if wait_s is not None else ()
    return Reply({"error": error.message}, STATUSES[error.kind].http, headers=headers)


async def _respond(send: Send, reply: Reply) -> None:
    if reply.text is not None:
        kind, body = _TEXT, reply.text.encode()
    else:
        kind, body = _JSON, b"" if reply.document is None else msgspec.json.encode(reply.document)
    lines = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
