"""Who may speak to a replica, and how much before it has said who it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from serving.channel.frames import MAX_HELLO_BYTES, VERSION, Frame, Kind, frame_head, result_head
from serving.channel.server import HELLO_TIMEOUT_S, ChannelServer, Connection
from tests.valkey import short_folder

pytestmark = pytest.mark.asyncio

TOKEN = b"secret"


def answer(connection: Connection, frame: Frame) -> None:
    connection.send([result_head(frame.call_id, 0, 1, 0, 0)])


@pytest_asyncio.fixture
async def socket() -> AsyncIterator[Path]:
    """Where a replica listens that answers every frame."""
    server = ChannelServer(token=TOKEN, max_in_flight=4, on_frame=answer, on_lost=lambda _: None)
    with short_folder() as folder:
        path = Path(folder) / "replica.sock"
        await server.listen(str(path))
        yield path
        await server.close()


def hello(token: bytes) -> bytes:
    return frame_head(Kind.HELLO, len(token), second=VERSION) + token


async def test_a_hello_with_the_token_opens_the_connection_to_large_frames(socket: Path) -> None:
    """The bound of a hello holds for the hello alone."""
    size = 100 * MAX_HELLO_BYTES
    reader, writer = await asyncio.open_unix_connection(socket)
    async with asyncio.timeout(10):
        writer.write(hello(TOKEN))
        assert (await reader.readexactly(20))[4] == Kind.READY
        writer.write(frame_head(Kind.INFER, size, call_id=1) + bytes(size))
        assert (await reader.readexactly(20))[4] == Kind.RESULT
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        hello(b"a guess"),
        frame_head(Kind.INFER, 0, call_id=1),
        frame_head(Kind.HELLO, MAX_HELLO_BYTES + 1, second=VERSION),
    ],
    ids=["a wrong token", "no hello", "a hello that wants memory"],
)
async def test_a_peer_without_a_valid_hello_is_dropped(socket: Path, sent: bytes) -> None:
    """At its first head: it is never let to fill a buffer, nor told why."""
    reader, writer = await asyncio.open_unix_connection(socket)
    async with asyncio.timeout(HELLO_TIMEOUT_S - 1):  # sooner than a peer that says nothing
        writer.write(sent)
        assert await reader.read(1) == b""
    writer.close()
