"""Steady requests on a fixed schedule, from a process of its own: what clients see while something changes.

An answer that is late delays no other request, and its latency counts from when the request was due, so waiting is not
hidden ("coordinated omission"). The process does little else than send: its share of the machine is small and even.

    with SteadyLoad(port, "/v2/models/m/infer", body, rate=200) as load:
        ...
    load.answers
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self, cast

import msgspec
import uvloop

from loadtests.metronome import Metronome

#: Connections at most; with all of them waiting, a request waits too, and that counts.
MOST_CONNECTIONS: Final = 512
#: An answer later than this is none.
GIVE_UP_S: Final = 30.0


class Answer(NamedTuple):
    """One request and what became of it."""

    due: float
    """When it should have been sent, in monotonic seconds, which all processes of a machine share."""
    latency_s: float
    """From then to the whole answer."""
    status: int
    """Of HTTP; 0 when the connection was lost or nobody answered."""
    variant: str = ""
    """Who answered."""
    router: str = ""
    """Through whom."""


class Latency(NamedTuple):
    """What clients saw over some time."""

    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


class Plan(msgspec.Struct, frozen=True):
    """What to send; goes to the sending process as JSON."""

    port: int
    path: str
    body: bytes
    headers: dict[str, str]
    rate: float
    """Requests per second."""
    connections: int
    """Opened at the start and used in turn, so that they reach all routers; more are opened when none is free."""


class SteadyLoad:
    """Requests for the length of a `with` block."""

    def __init__(
        self,
        port: int,
        path: str,
        body: bytes,
        *,
        rate: float,
        connections: int = 8,
        headers: dict[str, str] | None = None,
    ) -> None:
        self._plan = Plan(port, path, body, headers or {}, rate, connections)
        self._process: subprocess.Popen[bytes] | None = None
        self.answers: Sequence[Answer] = ()
        """In the order in which they were due; there after the block."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "loadtests.steady"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(self._plan) + b"\n")
        self._process.stdin.flush()
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it begins to send
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        said, _ = self._process.communicate(timeout=2 * GIVE_UP_S)  # the end of its input ends it
        self.answers = msgspec.json.decode(said or b"[]", type=list[Answer])


def latency(answers: Sequence[Answer], since: float = 0.0, until: float = float("inf")) -> Latency:
    """Sum up the answers to the requests that were due in a time; it must hold at least two."""
    seen = [answer for answer in answers if since <= answer.due < until]
    cuts = statistics.quantiles([1e3 * answer.latency_s for answer in seen], n=100, method="inclusive")
    worst_ms = 1e3 * max(answer.latency_s for answer in seen)
    return Latency(len(seen), sum(answer.status != 200 for answer in seen), cuts[49], cuts[98], worst_ms)


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with at most one request on it."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._buffer = b""
        self._due = 0.0
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @property
    def is_usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, due: float, request: bytes) -> None:
        assert self._transport is not None
        self._due, self._busy, self._buffer = due, True, b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = dict([line.lower().split(": ", 1) for line in lines])
        if len(body) >= int(headers["content-length"]):
            self._busy = False
            router = headers.get("x-shepherd-request-id", "").rpartition("-")[0]
            variant = headers.get("x-shepherd-variant", "")
            self._sender.answered(
                self, Answer(self._due, time.monotonic() - self._due, int(status[9:12]), variant, router)
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._busy:
            self._busy = False
            self._sender.answered(self, Answer(self._due, time.monotonic() - self._due, 0))


class _Sender:
    """Sends when requests are due, on whichever connection is free."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        lines = [f"POST {plan.path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in plan.headers.items()]
        lines += [f"content-length: {len(plan.body)}", "", ""]
        self._request = "\r\n".join(lines).encode() + plan.body
        self._free: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._open = 0
        self._owed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.answers: list[Answer] = []

    async def run(self, stopped: asyncio.Event) -> None:
        """Send until stopped, then wait for what is owed."""
        self._free += [await self._open_connection() for _ in range(self._plan.connections)]
        self._open = len(self._free)
        sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()
        loop = asyncio.get_running_loop()
        with Metronome(self._plan.rate) as metronome:
            loop.add_reader(metronome, self._send_due, metronome)
            self._send_due(metronome)
            await stopped.wait()
            loop.remove_reader(metronome)
        deadline = time.monotonic() + GIVE_UP_S
        while self._owed and time.monotonic() < deadline:  # noqa: ASYNC110 - that is all there is left to do
            await asyncio.sleep(0.01)
        self.answers += [Answer(deadline - GIVE_UP_S, GIVE_UP_S, 0)] * self._owed

    def answered(self, connection: _Connection, answer: Answer) -> None:
        """Take note; the connection is free again, unless it is gone."""
        self.answers.append(answer)
        self._owed -= 1
        if connection.is_usable:
            self._free.append(connection)
            if self._waiting:
                self._send(self._waiting.popleft())
        else:
            self._open -= 1

    def _send_due(self, metronome: Metronome) -> None:
        for due in metronome.due():
            self._owed += 1
            self._send(due)

    def _send(self, due: float) -> None:
        while self._free:
            connection = self._free.popleft()
            if connection.is_usable:
                connection.send(due, self._request)
                return
            self._open -= 1
        if self._open >= MOST_CONNECTIONS:
            self._waiting.append(due)
            return
        self._open += 1
        task = asyncio.create_task(self._connect(due))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, due: float) -> None:
        try:
            connection = await self._open_connection()
        except OSError:
            self._open -= 1
            self._owed -= 1
            self.answers.append(Answer(due, time.monotonic() - due, 0))
        else:
            connection.send(due, self._request)

    async def _open_connection(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._plan.port)
        return connection


async def _main(plan: Plan) -> list[Answer]:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stopped.set)  # nothing comes but the end
    sender = _Sender(plan)
    await sender.run(stopped)
    return sorted(sender.answers)


if __name__ == "__main__":
    wanted = msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_main(wanted))))
