"""What the HTTP door refuses or passes over before a request is one, and the words in which it does."""

from __future__ import annotations

from typing import Any, Final

from router.gateway.http.wire import Answer, encode_refusal
from serving.protocol.errors import ErrorKind, ServingError, invalid

#: Largest request line and headers, in bytes and in number: the parser itself bounds neither.
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 128

NOT_HTTP: Final = invalid("this is not an HTTP/1.1 request")
SLOW: Final = ServingError(ErrorKind.UNFINISHED, "the request did not arrive in time")
#: RFC 6585, 5.
TOO_LARGE_HEAD: Final = encode_refusal(
    431,
    "Request Header Fields Too Large",
    f"the request line and headers have more than {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} headers",
)


def refusing_app(answer: Answer) -> Any:
    """Make the ASGI app that gives a queued request this answer."""
    lines = [line.partition(b":") for line in answer.headers.splitlines()]
    headers = [*((name, value.strip()) for name, _, value in lines), (b"content-length", b"%d" % answer.size)]

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"".join(answer.body)})

    return app


def head_without_upgrade(method: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Write a request's head again, without the offer to speak another protocol."""
    lines = [b"%s %s HTTP/1.1" % (method, url)]
    for name, value in headers:
        if name == b"connection":
            lines.append(b"connection: close" if b"close" in value.lower() else b"connection: keep-alive")
        elif name != b"upgrade":
            lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
