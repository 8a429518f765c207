"""The door at which an MLflow server says that an alias has moved: it only saves waiting for the next poll.

What a message says is not believed, it only has the follower look for itself. Still, nobody else shall make it look: a
message is signed, recent and seen once. MLflow signs `<id>.<timestamp>.<body>` with HMAC-SHA256, as `v1,<base64>`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

PATH: Final = "/registry/webhook"
MAX_BODY_BYTES: Final = 64 * 1024
MAX_AGE_S: Final = 300.0
_REMEMBERED: Final = 1024

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Signatures:
    """Tells messages of the registry from all others."""

    def __init__(self, secret: bytes, clock: Callable[[], float]) -> None:
        self._secret = secret
        self._clock = clock
        self._seen: OrderedDict[str, None] = OrderedDict()

    def accept(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Tell whether a message is signed with the secret, recent, and new; headers by lower-case name."""
        delivery, stamp = headers.get("x-mlflow-delivery-id", ""), headers.get("x-mlflow-timestamp", "")
        signed = hmac.new(self._secret, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
        expected = f"v1,{base64.b64encode(signed).decode()}"
        given = headers.get("x-mlflow-signature", "")
        if not (delivery and hmac.compare_digest(expected.encode(), given.encode())):
            return False
        if not stamp.isascii() or not stamp.isdecimal() or abs(self._clock() - int(stamp)) > MAX_AGE_S:
            return False
        if delivery in self._seen:
            return False
        self._seen[delivery] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True


def with_registry_webhook(app: App, signatures: Signatures, on_message: Callable[[], None]) -> App:
    """Put the door in front of an ASGI application."""

    async def door(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        body = await _read(receive)
        status = 413 if body is None else 204 if signatures.accept(headers, body) else 401
        if status == 204:
            on_message()
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    return door


async def _read(receive: Receive) -> bytes | None:
    """Read a body; None when it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)
