"""Authorisation of each resolved operation, before its body is read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from router.access.key import bearer_token
from router.admin.auth import TokenStore
from router.admin.idempotency import HEADER, answer_once
from router.admin.operations import OPERATIONS, Caller, Role
from router.admin.problems import Problem

_READING = frozenset({"GET", "HEAD"})
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="model-shepherd"'}


class GuardedRoute(APIRoute):
    """A route that runs only for a caller whose role the operation's table row accepts.

    The app keeps its `TokenStore` at `app.state.tokens`; handlers find the caller by `caller_of`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the framework's handler, which reads the body, so that strangers cannot make it read one."""
        handler = super().get_route_handler()
        name = self.name

        async def guarded(request: Request) -> Response:
            operation = OPERATIONS.get(name)
            if operation is None:
                raise Problem("forbidden", f"{name} is not in the table of operations")
            if operation.role is not None:
                request.state.caller = _authorize(request, operation.role)
            bounded = Request(request.scope, _bounded(request, operation.max_body_bytes))
            is_once = request.method not in _READING and HEADER in request.headers and not operation.is_secret
            if operation.role is None or not is_once:
                return await handler(bounded)
            return await answer_once(bounded, request.state.caller, request.app.state.answers, handler)

        return guarded


def caller_of(request: Request) -> Caller:
    """Return who makes a request that was authorised."""
    caller: Caller = request.state.caller
    return caller


def _authorize(request: Request, role: Role) -> Caller:
    """Find the caller by the bearer token and check the role.

    Raises:
        Problem: 401 without a valid token, 403 with one that may not.
    """
    token = bearer_token(request.headers.get("authorization", ""))
    if not token:
        raise Problem(
            "unauthenticated",
            "send Authorization: Bearer TOKEN; the first token is in admin.token in the state directory",
            headers=_CHALLENGE,
        )
    tokens: TokenStore = request.app.state.tokens
    caller = tokens.authenticate(token)
    if caller is None:
        raise Problem("unauthenticated", "unknown token", headers=_CHALLENGE)
    if caller.role < role:
        raise Problem(
            "forbidden",
            f"this operation requires the role {role.name.lower()}; {caller.name} has {caller.role.name.lower()}",
        )
    return caller


def _bounded(request: Request, limit: int) -> Receive:
    """Receive the body up to a limit, whether its length was announced or not.

    Raises:
        Problem: 413, at once when the announced length is too much.
    """
    too_large = Problem("too-large", f"the body of this operation is limited to {limit} bytes")
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise too_large
        return message

    return receive
