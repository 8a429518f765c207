"""The replay against a server that answers, one that hangs up, and one that never answers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import numpy as np
import pytest

from demo.flights import FEATURES, Flights
from demo.replay import CUSTOMER_HEADER, Replay
from demo.tally import UNANSWERED, Tally
from tests.waiting import until

FLIGHTS = Flights(
    features=np.arange(3 * len(FEATURES), dtype=np.float32).reshape(3, -1),
    late=np.array([0, 1, -1], dtype=np.int8),
    date=np.array(["2013-03-01", "2013-03-01", "2013-03-02"], dtype="datetime64[D]"),
    customer=np.array(["UA1545", "AA1141", "B6725"]),
)
ANSWER = b"HTTP/1.1 200 OK\r\nX-Shepherd-Variant: canary\r\nx-shepherd-version: 2\r\nContent-Length: 2\r\n\r\n{}"

Request = tuple[dict[str, str], bytes]
"""Headers and body."""


class Server:
    """Keeps what it receives; `answer` gives the bytes to send, None for silence, empty for hanging up."""

    def __init__(self, answer: Callable[[], bytes | None]) -> None:
        self._answer = answer
        self.received: list[Request] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = dict(line.split(": ", 1) for line in head[:-4].split("\r\n")[1:])
                self.received.append((headers, await reader.readexactly(int(headers["content-length"]))))
                answer = self._answer()
                if answer is None:
                    await reader.read()
                if not answer:
                    break
                writer.write(answer)
        writer.close()


@asynccontextmanager
async def replaying(answer: Callable[[], bytes | None], *, rate: float) -> AsyncIterator[tuple[Server, Tally]]:
    """Run a replay of three flights against a server, for the length of the block."""
    server = Server(answer)
    tally = Tally()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    replay = asyncio.create_task(Replay(FLIGHTS, tally, host=host, port=port, model="m", rate=rate).run())
    try:
        yield server, tally
    finally:
        replay.cancel()
        await asyncio.gather(replay, return_exceptions=True)
        listening.close()
        await listening.wait_closed()


@pytest.mark.asyncio
async def test_each_flight_is_one_v2_request_with_its_customer() -> None:
    """The body is a V2 inference request of one row; the customer travels as the sticky key."""
    async with replaying(lambda: ANSWER, rate=500) as (server, tally):
        await until(lambda: tally.total >= 6)

    headers, body = next(request for request in server.received if request[0][CUSTOMER_HEADER] == "AA1141")
    (tensor,) = msgspec.json.decode(body)["inputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("features", "FP32", [1, len(FEATURES)])
    assert tensor["data"] == FLIGHTS.features[1].tolist()
    assert headers["content-type"] == "application/json"


@pytest.mark.asyncio
async def test_answers_count_for_the_variant_that_gave_them() -> None:
    """The variant is the one that the gateway names."""
    async with replaying(lambda: ANSWER, rate=500) as (_, tally):
        await until(lambda: tally.total >= 10)
        (row,) = tally.rows(asyncio.get_running_loop().time())

    assert (row.variant, row.version, row.errors) == ("canary", "2", 0)


@pytest.mark.asyncio
async def test_a_lost_connection_is_one_error_and_the_next_request_opens_another() -> None:
    """Nothing is sent twice, and nothing stops."""
    answers = itertools.chain([b""], itertools.repeat(ANSWER))
    async with replaying(lambda: next(answers), rate=500) as (server, tally):
        await until(lambda: tally.total >= 40)
        rows = {row.variant: row for row in tally.rows(asyncio.get_running_loop().time())}

    assert rows[UNANSWERED].errors == tally.errors == 1
    assert len(server.received) >= tally.total


@pytest.mark.asyncio
async def test_requests_fall_due_also_while_nobody_answers() -> None:
    """Open loop: a silent gateway does not slow the load down; what cannot be sent is counted."""
    async with replaying(lambda: None, rate=1000) as (_, tally):
        await until(lambda: tally.missed > 0)

    assert tally.total == 0
