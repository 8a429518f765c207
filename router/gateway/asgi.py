"""Everything over HTTP that is not an inference: server and model metadata, health, and clean 404s. Raw ASGI.

Inference comes here only where the callback path cannot take it: with a bare protobuf body, from the gRPC door.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec

from router.gateway.catalogue import Catalogue
from router.gateway.statuses import STATUSES, retry_after
from serving.protocol.errors import ErrorKind, ServingError, not_found

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_MODEL: Final = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<verb>/ready|/infer)?")


class HttpApp:
    """The ASGI application of a router."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"only HTTP is spoken here, not {scope['type']}")
        try:
            status, document = self._route(scope["method"], scope["path"].rstrip("/") or "/")
            headers: list[tuple[bytes, bytes]] = []
        except ServingError as error:
            status, document = STATUSES[error.kind].http, {"error": error.message}
            wait_s = retry_after(error.kind)
            headers = [(b"retry-after", b"%d" % wait_s)] if wait_s is not None else []
        except MethodNotAllowedError as error:
            status, document = 405, {"error": str(error)}
            headers = [(b"allow", error.allowed.encode())]
        await respond(send, status, b"" if document is None else msgspec.json.encode(document), headers)

    def _route(self, method: str, path: str) -> tuple[int, Any]:
        if path == "/v2":
            _allow(method, path)
            return 200, self._catalogue.server_metadata()
        if path == "/v2/health/live":
            _allow(method, path)
            return 200, None
        if path == "/v2/health/ready":
            _allow(method, path)
            return _readiness(self._catalogue.reason_unready())
        match = _MODEL.fullmatch(path)
        if match is None:
            raise not_found(f'no such path: "{path}"; the API is described at /v2')
        if match["verb"] == "/infer":
            _allow(method, path, "POST")
        else:
            _allow(method, path)
        version = _version(match["version"])
        if match["verb"] == "/ready":
            return _readiness(self._catalogue.reason_model_unready(match["model"], version))
        if match["verb"] == "/infer":  # a name or version that the callback path does not recognise
            raise not_found(f'unknown model "{match["model"]}"')
        return 200, self._catalogue.model_metadata(match["model"], version)


class MethodNotAllowedError(Exception):
    """The path exists, the method does not."""

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(f"{method} is not allowed on {path}; use {allowed}")
        self.allowed = allowed


async def respond(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send a whole JSON answer."""
    lines = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


def _allow(method: str, path: str, allowed: str = "GET") -> None:
    if method != allowed and not (allowed == "GET" and method == "HEAD"):
        raise MethodNotAllowedError(method, path, allowed)


def _readiness(reason: str | None) -> tuple[int, Any]:
    return (200, None) if reason is None else (STATUSES[ErrorKind.UNAVAILABLE].http, {"error": reason})


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):  # noqa: PLR2004
        raise not_found(f'"{text[:64]}" is not a version: versions are numbers')
    return int(text)
