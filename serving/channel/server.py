"""The replica's end of the tensor channel: connections, hello, credits, one write per turn of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
from collections.abc import Callable, Iterable
from typing import Final, cast

from serving.channel.frames import (
    MAX_BODY_BYTES,
    MAX_HELLO_BYTES,
    VERSION,
    Frame,
    FrameBuffer,
    Kind,
    MalformedFrame,
    frame_head,
)
from serving.protocol.messages import Buffer

#: A peer that connects must say hello within this time.
HELLO_TIMEOUT_S: Final = 5.0
#: Up to this many bytes, joining pieces is cheaper than handing the kernel a list of them.
JOIN_BELOW_BYTES: Final = 256 * 1024

OnFrame = Callable[["Connection", Frame], None]
OnLost = Callable[["Connection"], None]
Knows = Callable[[str], bool]


def write_pieces(transport: asyncio.WriteTransport, pieces: list[Buffer], size: int) -> None:
    """Write pieces in order, in one go: joined when small, gathered by the kernel when large."""
    if size < JOIN_BELOW_BYTES:
        transport.write(b"".join(pieces))
    else:
        transport.writelines(pieces)


class Connection(asyncio.Protocol):
    """One router's connection to this replica."""

    def __init__(self, server: ChannelServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._frames = FrameBuffer(MAX_HELLO_BYTES)
        self._pieces: list[Buffer] = []
        self._size = 0
        self._authenticated = False
        self.guest = ""
        """For whom the peer has come, where several versions share the process; known before its first frame."""
        self._transport: asyncio.Transport | None = None
        self._hello_timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """The peer can still be answered."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the hello."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but ancestry
        self._server.connections.add(self)
        self._hello_timer = self._loop.call_later(HELLO_TIMEOUT_S, self.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what this router asked for: nobody will read the answers."""
        self._server.connections.discard(self)
        self._transport = None
        if self._hello_timer:
            self._hello_timer.cancel()
        if self._authenticated:
            self._server.on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Hand over whole frames; drop a peer that sends anything else."""
        try:
            for frame in self._frames.feed(data):
                if self._authenticated:
                    self._server.on_frame(self, frame)
                else:
                    self._greet(frame)
        except MalformedFrame:
            self.close()

    def send(self, pieces: list[Buffer]) -> None:
        """Queue one whole frame; all frames of this turn of the loop leave in one write."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces += pieces
        for piece in pieces:
            self._size += len(piece)

    def close(self) -> None:
        """Flush and hang up."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def _greet(self, frame: Frame) -> None:
        if (
            frame.kind != Kind.HELLO
            or frame.second != VERSION
            or not hmac.compare_digest(bytes(frame.body), self._server.token)
        ):
            raise MalformedFrame("no valid hello")
        self.guest = str(frame.extra, "utf-8", "replace")
        if not self._server.knows(self.guest):
            raise MalformedFrame("nobody of that name is here")  # the router comes again, ever more slowly
        self._authenticated = True
        self._frames.max_body_bytes = MAX_BODY_BYTES
        if self._hello_timer:
            self._hello_timer.cancel()
        self.send([frame_head(Kind.READY, 0, first=self._server.max_in_flight)])
        if self._server.draining:
            self.send([frame_head(Kind.GOAWAY, 0)])

    def _flush(self) -> None:
        if self._pieces and self._transport is not None:
            write_pieces(self._transport, self._pieces, self._size)
        self._pieces, self._size = [], 0


class ChannelServer:
    """Listens on a Unix socket and passes frames to one handler."""

    def __init__(
        self,
        *,
        token: bytes,
        max_in_flight: int,
        on_frame: OnFrame,
        on_lost: OnLost,
        knows: Knows = lambda guest: not guest,
    ) -> None:
        """Take who handles frames, and who says whether a guest that a peer asks for is here."""
        self.token = token
        self.max_in_flight = max_in_flight
        self.on_frame = on_frame
        self.on_lost = on_lost
        self.knows = knows
        self.connections: set[Connection] = set()
        self.draining = False
        self._server: asyncio.Server | None = None
        self._uds = ""

    async def listen(self, uds: str) -> None:
        """Open the socket."""
        self._uds = uds
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: Connection(self), uds)
        os.chmod(uds, 0o600)  # noqa: PTH101 - a socket, and before anyone is told of it

    def go_away(self) -> None:
        """Ask every router to send nothing new; late connections hear it too."""
        self.draining = True
        self.dismiss(self.connections)

    @staticmethod
    def dismiss(connections: Iterable[Connection]) -> None:
        """Ask some peers to send nothing new over these connections; they hang up once they have been answered."""
        for connection in connections:
            connection.send([frame_head(Kind.GOAWAY, 0)])

    async def close(self) -> None:
        """Hang up and remove the socket."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close()
        if self._server is not None:
            await self._server.wait_closed()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._uds)  # noqa: PTH108 - a socket
