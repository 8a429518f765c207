"""The outer wall of the admin port: right host, right origin, right kind of body, safe answer headers.

A browser on this machine can reach loopback on behalf of any page it shows. Two checks close that way: a page that
points its own name at 127.0.0.1 (DNS rebinding) carries that name in Host, and a page that sends requests elsewhere
carries its own origin in Origin. There are no cookies, and no CORS headers, so nothing rides on the browser's trust.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.admin.problems import Problem, problem_response

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_ANSWER_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class RequestFilter:
    """ASGI middleware that answers 403 or 415 itself to what should not come in."""

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = LOOPBACK_NAMES | {host.lower().strip("[]") for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass it on; add the safe headers to every answer."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ANSWER_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        problem = self._objection(scope["method"], Headers(scope=scope))
        if problem is not None:
            await problem_response(problem)(scope, receive, send_safely)
        else:
            await self._app(scope, receive, send_safely)

    def _objection(self, method: str, headers: Headers) -> Problem | None:
        authority = headers.get("host", "")
        if _hostname(authority) not in self._hosts:
            return Problem("wrong-origin", f"Host {authority!r} is not allowed; to allow it, set admin_allowed_hosts")
        origin = headers.get("origin")
        if origin is not None and _authority(origin) != authority.lower():
            return Problem("wrong-origin", f"pages of {origin!r} may not call the admin API")
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if method in _WITH_BODY and has_body and not _is_json(content_type):
            return Problem("unsupported-media-type", "send JSON, with Content-Type: application/json")
        return None


def _hostname(authority: str) -> str | None:
    """Take the host name, lower-case, out of a Host header; None when it is malformed."""
    try:
        return urlsplit(f"//{authority}").hostname if "@" not in authority else None
    except ValueError:
        return None


def _authority(origin: str) -> str | None:
    """Take host and port, lower-case, out of an Origin header; None when it is malformed."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or content_type.endswith("+json")
