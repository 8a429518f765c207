"""Replays flights as live traffic: one V2 request per flight, at a steady rate whatever the gateway does.

The load is open loop: requests fall due by the clock, not by the answers, as real users' do. A slow gateway therefore
shows as latency (counted from the moment a request was due), and one that stops shows as requests never sent.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Final, NamedTuple

import msgspec

from demo.connection import Connection
from demo.flights import FEATURES, Flights
from demo.tally import UNANSWERED, Answer, Tally

#: Requests of one customer stay on one variant: the policy's sticky key.
CUSTOMER_HEADER: Final = "x-customer"

_TIMEOUT_S: Final = 10.0


class Due(NamedTuple):
    """A request and the moment on the event loop's clock at which it is to be sent."""

    at: float
    customer: str
    body: bytes


class Replay:
    """A run over the flights, again from the first after the last, until it is stopped."""

    def __init__(self, flights: Flights, tally: Tally, *, host: str, port: int, model: str, rate: float) -> None:
        self._flights = flights
        self._tally = tally
        self._path = f"/v2/models/{model}/infer"
        self._interval_s = 1 / rate
        self._connections = [Connection(host, port) for _ in range(32)]
        self._due: asyncio.Queue[Due] = asyncio.Queue(maxsize=max(int(rate), 1))
        self.date = str(flights.date[0])
        """The day in 2013 that is being replayed."""

    async def run(self) -> None:
        """Send until cancelled; connections are closed then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for connection in self._connections:
                    tasks.create_task(self._send_forever(connection))
                tasks.create_task(self._keep_time())
        finally:
            for connection in self._connections:
                connection.close()

    async def _keep_time(self) -> None:
        """Put each request into the queue when it is due; late wake-ups catch up at once."""
        clock = asyncio.get_running_loop().time
        at = clock()
        for row in itertools.cycle(range(len(self._flights.customer))):
            await asyncio.sleep(max(at - clock(), 0))
            self.date = str(self._flights.date[row])
            try:
                self._due.put_nowait(Due(at, str(self._flights.customer[row]), self._body(row)))
            except asyncio.QueueFull:
                self._tally.missed += 1
            at += self._interval_s

    def _body(self, row: int) -> bytes:
        features = self._flights.features[row].tolist()
        tensor = {"name": "features", "datatype": "FP32", "shape": [1, len(FEATURES)], "data": features}
        return msgspec.json.encode({"inputs": [tensor]})

    async def _send_forever(self, connection: Connection) -> None:
        while True:
            self._tally.add(await self._send(connection, await self._due.get()))

    async def _send(self, connection: Connection, due: Due) -> Answer:
        clock = asyncio.get_running_loop().time
        headers = {CUSTOMER_HEADER: due.customer}
        try:
            reply = await connection.post(self._path, headers, due.body, timeout_s=_TIMEOUT_S)
        except OSError:
            return Answer(clock(), UNANSWERED, "", clock() - due.at, ok=False)
        variant = reply.headers.get("x-shepherd-variant", UNANSWERED)
        version = reply.headers.get("x-shepherd-version", "")
        return Answer(clock(), variant, version, clock() - due.at, ok=reply.status == 200)
