"""The ASGI side of the HTTP door: everything that is not an inference, and clean refusals. Raw ASGI.

Bodies here are small documents, bounded like any other by the connection (`connection`). An inference comes here
only when its path names no model that could exist.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from router.access.key import ApiKey
from router.gateway.authorization import ANYBODY, Authorizer
from router.gateway.http.routes.table import Asked, MethodNotAllowedError, Reply, Route, Routes
from router.gateway.statuses import STATUSES, headers_of
from serving.protocol.errors import ServingError

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_PROTOCOL: Final = "http"
_JSON: Final = b"application/json"
_TEXT: Final = b"text/plain; charset=utf-8"


class HttpApp:
    """The ASGI application of a router."""

    def __init__(self, routes: Routes, authorizer: Authorizer) -> None:
        self._routes = routes
        self._authorizer = authorizer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a client that leaves is not answered."""
        if scope["type"] != "http":
            raise NotImplementedError(f"only HTTP is spoken here, not {scope['type']}")
        try:
            route, values = self._routes.find(scope["method"], scope["raw_path"])
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            caller = self._admit(route, values.get("model", ""), headers)
            body = await _read_body(receive) if scope["method"] == "POST" else b""
            if body is None:
                return
            reply = await route.handler(Asked(values, headers, body, caller.scope))
        except ServingError as error:
            reply = _refusal(error)
        except MethodNotAllowedError as error:
            reply = Reply({"error": str(error)}, 405, headers=((b"allow", error.allowed.encode()),))
        await _respond(send, reply)

    def _admit(self, route: Route, model: str, headers: dict[str, str]) -> ApiKey:
        """Check the caller's key before the body is read.

        Raises:
            ServingError: UNAUTHENTICATED or FORBIDDEN.
        """
        if route.action is None:
            return ANYBODY
        caller = self._authorizer.identify(headers, _PROTOCOL)
        self._authorizer.require(caller, route.action, model, _PROTOCOL)
        return caller


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
    return Reply({"error": error.message}, STATUSES[error.kind].http, headers=headers_of(error.kind))


async def _respond(send: Send, reply: Reply) -> None:
    if reply.text is not None:
        kind, body = _TEXT, reply.text.encode()
    else:
        kind, body = _JSON, b"" if reply.document is None else msgspec.json.encode(reply.document)
    lines = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
