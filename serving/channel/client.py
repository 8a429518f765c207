"""The router's end of the tensor channel: one persistent, pipelined connection to one replica."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Final, Generic, Protocol, TypeVar, cast

from serving.channel.endpoint import Endpoint
from serving.channel.frames import HEAD_BYTES, VERSION, Frame, FrameBuffer, Kind, MalformedFrame, frame_head, infer_head
from serving.channel.server import write_pieces
from serving.protocol.messages import Buffer

CONNECT_TIMEOUT_S: Final = 5.0
#: Kinds of frames that answer a call, as plain numbers.
_ANSWERS: Final = frozenset({int(Kind.RESULT), int(Kind.ERROR)})

T = TypeVar("T")


class ChannelOwner(Protocol[T]):
    """Who is told what happens on a channel. `T` is the owner's own kind of call."""

    def on_answers(self, answers: list[tuple[T, Frame]]) -> None:
        """Calls were answered by RESULT or ERROR frames that one read brought."""

    def on_lost(self, channel: ReplicaChannel[T], calls: list[T]) -> None:
        """The connection is gone; these calls were unanswered, and may or may not have run."""

    def on_credit(self, channel: ReplicaChannel[T]) -> None:
        """The channel can take calls again, or for the first time, or (draining) never more."""


class ReplicaChannel(asyncio.Protocol, Generic[T]):
    """A connection with calls in flight, each known by a number until its answer comes.

    All frames of one turn of the loop leave in one write. `free` says how many more calls the replica accepts.
    """

    def __init__(self, endpoint: Endpoint, token: bytes, owner: ChannelOwner[T]) -> None:
        self.endpoint = endpoint
        self.ready = False
        self.was_ready = False
        self.draining = False
        self.pending: dict[int, T] = {}
        self._token = token
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._credits = 0
        self._frames = FrameBuffer()
        self._pieces: list[Buffer] = []
        self._size = 0
        self._transport: asyncio.Transport | None = None
        self._writable = True

    def __repr__(self) -> str:
        state = "draining" if self.draining else "ready" if self.ready else "closed"
        return f"<ReplicaChannel {self.endpoint.replica_id} {state}, {len(self.pending)}/{self._credits} in flight>"

    @property
    def free(self) -> int:
        """Calls that may be sent now."""
        if not self.ready or self.draining or not self._writable:
            return 0
        return self._credits - len(self.pending)

    async def connect(self) -> None:
        """Connect and say hello; `on_credit` follows when the replica says it is ready.

        Raises:
            OSError: nobody listens there (any more), or not in time.
        """
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await self._loop.create_unix_connection(lambda: self, self.endpoint.uds)

    def send(self, call: T, packed: Buffer, *, extra: bytes = b"", timeout_ms: int = 0, shadow: bool = False) -> int:
        """Send a call; returns its number on this channel. The caller has checked `free`.

        Raises:
            struct.error: the call does not fit into a frame; nothing was sent, and no credit is taken.
        """
        number = next(self._numbers) & 0xFFFFFFFF
        size = len(extra) + len(packed)
        head = infer_head(number, size, len(extra), timeout_ms, shadow)
        self.pending[number] = call
        self._queue((head, extra, packed) if extra else (head, packed), size + HEAD_BYTES)
        return number

    def cancel(self, number: int) -> None:
        """Give up on a call: its credit is free at once and an answer that still comes is ignored."""
        if self.pending.pop(number, None) is not None:
            head = frame_head(Kind.CANCEL, 0, call_id=number)
            self._queue((head,), HEAD_BYTES)

    def close(self) -> None:
        """Hang up; unanswered calls are reported as lost."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but ancestry
        guest = self.endpoint.guest.encode()
        head = frame_head(Kind.HELLO, len(guest) + len(self._token), extra_bytes=len(guest), second=VERSION)
        self._transport.write(head + guest + self._token)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report what was in flight; end of file means gone, at once."""
        self.ready = False
        self._transport = None
        calls = list(self.pending.values())
        self.pending.clear()
        self._owner.on_lost(self, calls)

    def data_received(self, data: bytes) -> None:
        """Match answers to calls, and report all that this read brought together."""
        answers: list[tuple[T, Frame]] = []
        pop = self.pending.pop
        try:
            for frame in self._frames.feed(data):
                if frame.kind in _ANSWERS:
                    call = pop(frame.call_id, None)
                    if call is not None:
                        answers.append((call, frame))
                else:
                    self._control(frame)
        except MalformedFrame:
            self.close()
        if answers:
            self._owner.on_answers(answers)
            self._owner.on_credit(self)

    def pause_writing(self) -> None:
        """Stop taking calls while the kernel's buffer is full."""
        self._writable = False

    def resume_writing(self) -> None:
        """Take calls again."""
        self._writable = True
        self._owner.on_credit(self)

    def _control(self, frame: Frame) -> None:
        if frame.kind == Kind.READY:
            self._credits = frame.first
            self.ready = self.was_ready = True
        elif frame.kind == Kind.GOAWAY:
            self.draining = True
        else:
            raise MalformedFrame(f"kind {frame.kind} is not for routers")
        self._owner.on_credit(self)

    def _queue(self, pieces: tuple[Buffer, ...], size: int) -> None:
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces += pieces
        self._size += size

    def _flush(self) -> None:
        if self._transport is not None and self._pieces:
            write_pieces(self._transport, self._pieces, self._size)
        self._pieces, self._size = [], 0
