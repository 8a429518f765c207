"""Writes that may be sent again: the same `Idempotency-Key` gives the same answer and does the thing once.

A key belongs to its caller. It is spent by a success only: a refusal changed nothing, so the same request may be tried
again under the same key.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import Request, Response

from router.admin.operations import Caller
from router.admin.problems import Problem
from router.rollout_ports import AnswerStore, KeptAnswer

HEADER: Final = "idempotency-key"
_MAX_KEY_LENGTH: Final = 255
#: Headers that make two requests with one body different ones.
_MEANT: Final = ("if-match", "if-none-match", "x-shepherd-reason")
#: Headers that are part of an answer, not of one connection.
_KEPT: Final = ("content-type", "etag", "location")


async def answer_once(
    request: Request, caller: Caller, answers: AnswerStore, handle: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Handle a request that carries a key, or give the answer that it had.

    Raises:
        Problem: 400, the key is no key; 422, it belongs to another request; 409, that one is not answered yet.
        StoreUnavailable: whether the key is spent cannot be known.
    """
    given = request.headers[HEADER]
    if not given.strip() or len(given) > _MAX_KEY_LENGTH or not given.isprintable():
        raise Problem("invalid-request", f"Idempotency-Key: 1 to {_MAX_KEY_LENGTH} printable characters", field=HEADER)
    key = hashlib.sha256(f"{caller.name}\0{given}".encode()).hexdigest()
    # Off the loop, on which hard failures are noticed: the body of a registration is as large as its model.
    fingerprint = await asyncio.to_thread(_fingerprint, request, await request.body())
    known = await answers.claim(key, fingerprint)
    if known is not None:
        return _replayed(known, fingerprint)
    try:
        response = await handle(request)
    except BaseException:
        await answers.release(key)
        raise
    if not 200 <= response.status_code < 300:
        await answers.release(key)
        return response
    headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
    await answers.keep(key, KeptAnswer(fingerprint, response.status_code, headers, bytes(response.body)))
    return response


def _replayed(known: KeptAnswer, fingerprint: str) -> Response:
    if known.fingerprint != fingerprint:
        raise Problem("key-reused", "this Idempotency-Key was used for another request; use a new one for each request")
    if not known.status:
        raise Problem("conflict", "the first request with this Idempotency-Key is still in progress")
    return Response(known.body, known.status, {**known.headers, "Idempotency-Replayed": "true"})


def _fingerprint(request: Request, body: bytes) -> str:
    parts = [request.method, request.url.path, request.url.query, *(request.headers.get(name, "") for name in _MEANT)]
    digest = hashlib.sha256("\0".join(parts).encode() + b"\0")
    digest.update(body)
    return digest.hexdigest()
