"""One inference over HTTP, from its headers to its answer: collects, decodes, dispatches, encodes, sends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from router.access.key import ApiKey
from router.gateway.dispatch.call import Call
from router.gateway.dispatch.defects import as_answer
from router.gateway.http.compression import (
    COMPRESS_INLINE_BELOW_BYTES,
    accepted_coding,
    compress_answer,
    content_coding,
    decompress,
)
from router.gateway.http.wire import Answer, Wire, encode_error, match_infer
from serving.protocol.errors import ErrorKind, ServingError, too_large
from serving.protocol.messages import Buffer

if TYPE_CHECKING:
    from router.gateway.authorization import Authorizer
    from router.gateway.dispatch.dispatcher import Dispatcher
    from serving.protocol.messages import Limits

_log = logging.getLogger(__name__)

#: Pieces in which a body may come. Each costs fifty bytes beside its own, so a flood of one-byte chunks is refused; a
#: body of the default limit has a thousand pieces when it is read in turns of 64 KiB.
MAX_PIECES: Final = 65_536


class InferService:
    """What every HTTP connection of a router shares."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        limits: Limits,
        request_timeout_s: float,
        next_id: Callable[[], str],
        authorizer: Authorizer,
        match: Callable[[bytes], Wire | None] = match_infer,
    ) -> None:
        self.dispatcher = dispatcher
        self.authorizer = authorizer
        self.match = match
        """Reads a path that takes the callback way; None sends the request to the ASGI app."""
        self.limits = limits
        self.request_timeout_s = request_timeout_s
        self.next_id = next_id

    def matching(self, match: Callable[[bytes], Wire | None]) -> InferService:
        """Make the service of connections that speak another form of inference."""
        return InferService(
            self.dispatcher,
            limits=self.limits,
            request_timeout_s=self.request_timeout_s,
            next_id=self.next_id,
            authorizer=self.authorizer,
            match=match,
        )


class ExchangeOwner(Protocol):
    """The connection of an exchange."""

    service: InferService

    def finish(self, exchange: Exchange, answer: Answer) -> None:
        """Send the answer and go on with the next request."""


class Exchange:
    """The `Door` of one call; carries what uvicorn looks at in a request in progress."""

    __slots__ = (
        "_answer",
        "_call",
        "_caller",
        "_chunks",
        "_owner",
        "_size",
        "_wire",
        "body_complete",
        "disconnected",
        "expects_continue",
        "fault",
        "headers",
        "keep_alive",
        "message_event",
        "refusal",
        "response_complete",
    )

    def __init__(self, owner: ExchangeOwner, wire: Wire, headers: dict[str, str], *, keep_alive: bool) -> None:
        self._owner = owner
        self._wire = wire
        self._chunks: list[Buffer] = []
        self._size = 0
        self._call: Call | None = None
        self._answer: Answer | None = None
        self.headers = headers
        self.keep_alive = keep_alive
        self.body_complete = False
        self.expects_continue = False
        self.fault: ServingError | None = None
        """Why the body is not what it should be; the request is refused with it."""
        self.disconnected = False
        self.response_complete = False
        self.message_event = _NEVER
        self.refusal: ServingError | None = None
        """Why the request is refused whatever its body, which is then thrown away as it comes."""
        self._caller = self._identify()

    def add(self, chunk: Buffer, max_body_bytes: int) -> None:
        """Collect a piece of the body; one too many makes a fault. What frames the message does not count."""
        self._size += len(chunk)
        if self._size > max_body_bytes + self._wire.framing_bytes:
            self.fault = too_large(f"the body is larger than {max_body_bytes} bytes")
        elif len(self._chunks) >= MAX_PIECES:
            self.fault = too_large(f"the body comes in more than {MAX_PIECES} pieces")
        elif self.refusal is None:
            self._chunks.append(chunk)
            return
        self._chunks.clear()

    def begin(self) -> None:
        """Decode and dispatch; the body is complete or at fault."""
        service = self._owner.service
        now = service.dispatcher.now()
        call = Call(
            self,
            id=service.next_id(),
            protocol=self._wire.protocol,
            model="",
            request=None,
            headers=self.headers,
            started=now,
            deadline=now + service.request_timeout_s,
            caller=self._caller,
        )
        doom = self.refusal or self.fault
        if doom is not None:
            service.dispatcher.refuse(call, doom)
            return
        try:
            message, expanding = self._unwrap()
        except Exception as error:  # noqa: BLE001 - one request must not end a connection that others share
            service.dispatcher.refuse(call, error)
            return
        if expanding is not None:
            expanding.add_done_callback(partial(self._go_on, call))
        else:
            self._dispatch(call, message)

    def answer(self, call: Call) -> None:
        """Door: encode."""
        if self.disconnected:
            return
        try:
            self._answer = self._wire.encode(call)
        except Exception as error:  # noqa: BLE001 - what it is must not cost the calls that are answered beside it
            call.error = as_answer(call, error)
            self._answer = self._wire.encode(call)

    def release(self, call: Call) -> None:
        """Door: send, compressed where the client wants that and it pays."""
        self._call = None
        answer = self._answer or encode_error(ServingError(ErrorKind.CANCELLED, "nobody listens"))
        coding = accepted_coding(call.headers, answer) if "accept-encoding" in call.headers else ""
        if not coding:
            self._owner.finish(self, answer)
        elif answer.size < COMPRESS_INLINE_BELOW_BYTES:
            self._owner.finish(self, _compressed(call, answer, coding))
        else:
            compressing = asyncio.get_running_loop().run_in_executor(None, _compressed, call, answer, coding)
            compressing.add_done_callback(lambda done: self._owner.finish(self, done.result()))

    def abandon(self) -> None:
        """The client is gone."""
        self.disconnected = True
        if self._call is not None:
            self._owner.service.dispatcher.cancel(self._call)

    def _identify(self) -> ApiKey | None:
        authorizer = self._owner.service.authorizer
        try:
            return authorizer.identify(self.headers, self._wire.protocol) if authorizer.required else None
        except ServingError as error:
            self.refusal = error
            return None

    def _unwrap(self) -> tuple[Buffer, asyncio.Future[bytes] | None]:
        """Take the message out of the body; one that is compressed comes from a thread, since it may become large.

        Raises:
            ServingError: INVALID or UNSUPPORTED, see `Wire.unwrap`.
        """
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        message, named = self._wire.unwrap(body, self.headers)
        coding = content_coding(named) if named else ""
        if not coding:
            return message, None
        limit = self._owner.service.limits.max_body_bytes
        return message, asyncio.get_running_loop().run_in_executor(None, decompress, message, coding, limit)

    def _go_on(self, call: Call, expanding: asyncio.Future[bytes]) -> None:
        """Dispatch what was expanded."""
        if self.disconnected:
            return
        error = expanding.exception()
        if error is not None:
            self._owner.service.dispatcher.refuse(call, error)
        else:
            self._dispatch(call, expanding.result())

    def _dispatch(self, call: Call, body: Buffer) -> None:
        service = self._owner.service
        try:
            pinned = self._wire.decode(call, body, service.limits)
        except Exception as error:  # noqa: BLE001 - one request must not end a connection that others share
            service.dispatcher.refuse(call, error)
            return
        self._call = call
        service.dispatcher.dispatch(call, pinned)


def _compressed(call: Call, answer: Answer, coding: str) -> Answer:
    try:
        return compress_answer(answer, coding)
    except Exception:  # noqa: BLE001 - the answer is whole, and other calls' wait behind it
        _log.exception("Cannot compress the answer to %s: it goes as it is", call.id)
        return answer


class _Never:
    """Stands where uvicorn expects an event to set: nobody waits for an Exchange."""

    def set(self) -> None:
        """Do nothing."""


_NEVER: Final = _Never()
