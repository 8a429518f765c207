"""One unary method that asks or steers: its message, what its caller must be allowed to do, and who answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message

from router.access.scope import Action, Scope
from router.gateway.authorization import ANYBODY, Authorizer
from router.gateway.grpc.rpc.inference import PROTOCOL, Context, metadata_headers
from serving.protocol.errors import invalid

Unary = Callable[[bytes, Context], Awaitable[bytes]]


class Asked(NamedTuple):
    """One call."""

    request: Any
    """The message, parsed."""
    headers: Mapping[str, str]
    scope: Scope
    """What the caller may do."""

    def sees(self, model: str) -> bool:
        """Tell whether a model is the caller's to know of."""
        return self.scope.allows(Action.METADATA, model)


class Query(NamedTuple):
    """A method."""

    kind: Any
    """Class of its message."""
    action: Action | None
    """None: open to everybody; only health, which tells nothing but that."""
    answer: Callable[[Asked], Awaitable[Message]]
    model_field: str = ""
    """Where the message names the model that it is about; empty for the server as a whole."""
    with_settings: Action | None = None
    """What it takes instead when the message brings settings, which are then to be changed."""


def guarded(query: Query, authorizer: Authorizer) -> Unary:
    """Make the method that checks its caller, before the message is parsed and before the model is looked for."""

    async def answer(message: bytes, context: Context) -> bytes:
        headers = metadata_headers(context)
        caller = ANYBODY if query.action is None else authorizer.identify(headers, PROTOCOL)
        request = parse(query.kind, message)
        action = query.with_settings if query.with_settings and request.settings else query.action
        if action is not None:
            model = getattr(request, query.model_field) if query.model_field else ""
            authorizer.require(caller, action, model, PROTOCOL)
        answered = await query.answer(Asked(request, headers, caller.scope))
        return answered.SerializeToString()

    return answer


def parse(kind: Any, message: bytes) -> Any:
    """Parse a message of a kind.

    Raises:
        ServingError: INVALID.
    """
    try:
        return kind.FromString(message)
    except DecodeError:
        raise invalid(f"the message is not a {kind.DESCRIPTOR.name}") from None
