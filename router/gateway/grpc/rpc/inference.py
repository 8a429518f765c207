"""ModelInfer and ModelStreamInfer: calls whose answers arrive by callback, for coroutines that wait.

A stream's requests run side by side, up to a bound, and are answered in the order in which they were asked, as Triton
answers them; each fails alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import grpc

from router.gateway.dispatch.call import Call
from router.gateway.dispatch.defects import as_answer
from router.gateway.grpc.wire import encode_outputs
from router.gateway.http.exchange import InferService
from router.gateway.names import read_version
from router.gateway.response import response_of
from serving.protocol.grpc_codec import encode_stream_error, encode_stream_response
from serving.protocol.grpc_forms import read_infer
from serving.protocol.messages import Buffer, InferResponse, Parameter

Context = grpc.aio.ServicerContext[bytes, bytes]
Encode = Callable[[Call], bytes]

#: Name of the door in metrics and records.
PROTOCOL: Final = "grpc"
#: Requests of one stream that are on their way at once; beyond it the stream is not read, which holds its client back.
STREAM_WINDOW: Final = 64
#: Triton tells stream clients by this parameter that a request has no further answer; ours have one each.
_FINAL: Final = "triton_final_response"


class _Waiting:
    """The door of one call: a future that the dispatcher's release completes."""

    def __init__(self, encode: Encode) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.message = b""
        self._encode = encode

    def answer(self, call: Call) -> None:
        """Door: encode."""
        if call.error is not None:
            return
        try:
            self.message = self._encode(call)
        except Exception as error:  # noqa: BLE001 - what it is must not cost the calls that are answered beside it
            call.error = as_answer(call, error)

    def release(self, call: Call) -> None:
        """Door: let the coroutine go on."""
        if not self.future.done():
            self.future.set_result(None)


class InferenceMethods:
    """The two methods that run models."""

    def __init__(self, service: InferService) -> None:
        self._service = service

    async def infer(self, message: bytes, context: Context) -> bytes:
        """One inference; a client that gives up, or whose deadline passes, cancels it down to the model.

        Raises:
            ServingError: what became of it.
        """
        call, door = self._begin(message, context, encode_outputs)
        try:
            await door.future
        except asyncio.CancelledError:
            self._service.dispatcher.cancel(call)
            raise
        await context.send_initial_metadata(decision_metadata(call))
        if call.error is not None:
            raise call.error
        return door.message

    async def stream(self, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Answer each message of a stream, in order, until the client has sent its last.

        The caller is identified when the stream opens, and again for each message: a key that is revoked meanwhile
        fails those that follow.

        Raises:
            ServingError: UNAUTHENTICATED.
        """
        self._service.authorizer.identify(metadata_headers(context), PROTOCOL)
        room = asyncio.Semaphore(STREAM_WINDOW)
        begun: asyncio.Queue[tuple[Call, _Waiting] | None] = asyncio.Queue()  # bounded by the room
        unanswered: set[Call] = set()

        async def take() -> None:
            try:
                async for message in messages:
                    await room.acquire()
                    call, door = self._begin(message, context, _encode_streamed)
                    unanswered.add(call)
                    begun.put_nowait((call, door))
            finally:
                begun.put_nowait(None)

        taking = asyncio.create_task(take(), name="grpc-stream")
        try:
            while (waiting := await begun.get()) is not None:
                call, door = waiting
                await door.future
                unanswered.discard(call)
                yield door.message if call.error is None else _stream_failure(call)
                room.release()
            await taking
        finally:
            taking.cancel()
            for call in unanswered:
                self._service.dispatcher.cancel(call)
            await asyncio.gather(taking, return_exceptions=True)

    def _begin(self, message: Buffer, context: Context, encode: Encode) -> tuple[Call, _Waiting]:
        service, dispatcher = self._service, self._service.dispatcher
        door = _Waiting(encode)
        now = dispatcher.now()
        remaining = context.time_remaining()
        limit_s = service.request_timeout_s
        call = Call(
            door,
            id=service.next_id(),
            protocol=PROTOCOL,
            model="",
            request=None,
            headers=metadata_headers(context),
            started=now,
            deadline=now + (min(remaining, limit_s) if remaining is not None else limit_s),
        )
        try:
            call.caller = service.authorizer.identify(call.headers, PROTOCOL)
            call.model, version, call.request = read_infer(message, service.limits)
            pinned = read_version(version)
        except Exception as error:  # noqa: BLE001 - one message must not end a stream that others share
            dispatcher.refuse(call, error)
        else:
            call.shorten_deadline(call.request.parameters)
            dispatcher.dispatch(call, pinned)
        return call, door


def metadata_headers(context: Context) -> dict[str, str]:
    """Read a call's metadata as headers; gRPC's names are lower-case already."""
    return {
        key: value if isinstance(value, str) else value.decode("latin-1")
        for key, value in context.invocation_metadata() or ()
    }


def decision_metadata(call: Call) -> tuple[tuple[str, str], ...]:
    """Say who answered and why, as the HTTP door says it in headers."""
    own = ("x-shepherd-request-id", call.id)
    if call.decision is None:
        return (own,)
    return (
        ("x-shepherd-version", str(call.decision.version)),
        ("x-shepherd-variant", call.decision.variant),
        ("x-shepherd-reason", call.decision.reason),
        own,
    )


def _encode_streamed(call: Call) -> bytes:
    response = response_of(call)
    parameters: dict[str, Parameter] = {**response.parameters, _FINAL: True}
    final = InferResponse(response.model, response.version, response.outputs, response.id, parameters)
    return encode_stream_response(final)


def _stream_failure(call: Call) -> bytes:
    assert call.error is not None, "only a failed call has a failure"
    return encode_stream_error(call.error.message, call.request.id if call.request is not None else "")
