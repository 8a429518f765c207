"""Where a router's microseconds go: its own code by stage, in one process, with no socket and no other process.

Run: `python -m loadtests.micro`. Real are parser, codec, decision, dispatch, channel frames, answer, record and its
write to a spool, metrics; transports that swallow what is written stand for the sockets, and a frame with a packed
tensor for the replica. Kernel and event loop are left out, so a router spends more per request than the last row says.

Times are processor time, and of many short repeats the least counts: that one was disturbed by nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadtests.model import random_rows, v2_json
from router.adapters.files.spool import Spool, SpoolLimits
from router.gateway.authorization import Authorizer
from router.gateway.dispatch.call import Call
from router.gateway.dispatch.dispatcher import Dispatcher
from router.gateway.dispatch.meters import Meters
from router.gateway.dispatch.policy_view import PolicyView
from router.gateway.dispatch.pools import Pools
from router.gateway.dispatch.recording import record_call
from router.gateway.http.exchange import Exchange, InferService
from router.gateway.http.protocol import ShepherdProtocol, protocol_class
from router.gateway.http.server import HttpServer
from router.gateway.log.recorder import Recorder
from router.policy.document import parse_policy
from router.ports import PolicySnapshot, StoredPolicy
from serving.channel.client import ReplicaChannel
from serving.channel.endpoint import Endpoint
from serving.channel.frames import Kind, frame_head, result_head
from serving.protocol.arrays import to_tensor
from serving.protocol.json_codec import decode_json
from serving.protocol.messages import Limits, Signature
from serving.protocol.packing import pack_tensors
from serving.telemetry.instruments import Registry

CONNECTIONS: Final = 64
_REPEATS: Final = 150
MODEL: Final = "bench"


class Sink:
    """A transport whose other end is nowhere."""

    def write(self, data: bytes) -> None:
        """Swallow."""

    def writelines(self, pieces: list[bytes]) -> None:
        """Swallow."""

    def is_closing(self) -> bool:
        """Stay open."""
        return False

    def get_extra_info(self, name: str) -> None:
        """Know nothing."""


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    """Stand for the ASGI app, which no inference reaches."""


class Bench:
    """A router's hot path, from the bytes of a request to those of its answer."""

    def __init__(self, folder: Path) -> None:
        numbers = itertools.count()
        registry = Registry("micro")
        view, self.meters = PolicyView(), Meters(registry)
        authorizer = Authorizer(registry, required=False)
        policy = {
            "model": MODEL,
            "sticky": {"by": "header", "name": "x-user-id"},
            "variants": [{"name": "stable", "version": 1, "weight": 10_000}],
        }
        view.apply(PolicySnapshot(1, {MODEL: StoredPolicy(parse_policy(policy), 1, "", "", 0.0)}))
        self.recorder = Recorder(Spool.open(folder, "micro", SpoolLimits(max_bytes=8 << 30)), incarnation="micro")
        pools = Pools(token=b"")
        self.dispatcher = Dispatcher(
            view=view,
            pool_of=pools.primary,
            recorder=self.recorder,
            meters=self.meters,
            authorizer=authorizer,
            max_in_flight=2048,
        )
        pools.owner = self.dispatcher
        self.service = InferService(
            self.dispatcher,
            limits=Limits(),
            request_timeout_s=30,
            next_id=lambda: f"6b03d39b-ec7a1b85-{next(numbers):x}",
            authorizer=authorizer,
        )
        pool = pools.primary(MODEL, 1)
        endpoint = Endpoint("", "", "", 1, Signature((), ()), 1 << 20)
        self.channel: ReplicaChannel[Call] = ReplicaChannel(endpoint, b"", pool)
        self.channel.connection_made(Sink())  # type: ignore[arg-type]
        self.channel.data_received(frame_head(Kind.READY, 0, first=1 << 20))
        pool._channels.append(self.channel)  # noqa: SLF001 - in place of discovery and a socket
        self.clients = self._connect()
        self.requests = [_request(user, v2_json(row[None])) for user, row in enumerate(random_rows(CONNECTIONS, 16))]
        self.output = pack_tensors((to_tensor("probabilities", np.full((1, 3), 1 / 3, np.float32)),))

    def _connect(self) -> list[ShepherdProtocol]:
        server = HttpServer(_no_app, self.service, keep_alive_s=75, drain_timeout_s=5)
        config, state = server._config, server._server.server_state  # noqa: SLF001 - what uvicorn gives a connection
        state.default_headers = [(b"date", b"Mon, 01 Jan 2024 00:00:00 GMT")]
        kind: Any = protocol_class(self.service)
        clients = [kind(config=config, server_state=state, app_state={}) for _ in range(CONNECTIONS)]
        for client in clients:
            client.connection_made(Sink())
        return clients

    def prepare(self) -> None:
        """Make what must be new for each round; an HTTP request need not be."""

    def receive(self) -> None:
        """Let every client send a request: all that happens up to the frames to the replica."""
        for client, request in zip(self.clients, self.requests, strict=True):
            client.data_received(request)
        self.channel._flush()  # noqa: SLF001 - what the loop does at the end of its turn

    def reply(self, answers: bytes) -> None:
        """Let the replica answer all of them in one read: all that happens up to the clients' sockets."""
        self.channel.data_received(answers)

    def answers(self) -> bytes:
        """Print the frames that answer what is in flight."""
        size = len(self.output)
        return b"".join([result_head(number, size, 8, 30, 20) + self.output for number in self.channel.pending])

    def decoded(self) -> Call:
        """Catch a call on its way."""
        self.clients[0].data_received(self.requests[0])
        return next(iter(self.channel.pending.values()))


def _request(user: int, body: bytes) -> bytes:
    lines = (
        f"host: 127.0.0.1\r\ncontent-type: application/json\r\nx-user-id: user-{user}\r\ncontent-length: {len(body)}"
    )
    return f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\n{lines}\r\n\r\n".encode() + body


def measure(work: Callable[[], object], times: int, repeats: int = _REPEATS) -> float:
    """Return the least microseconds of processor time that one of `times` took, over many repeats."""
    least = float("inf")
    for _ in range(repeats):
        started = time.process_time_ns()
        for _ in range(times):
            work()
        least = min(least, time.process_time_ns() - started)
    return least / times / 1e3


def measure_halves(bench: Bench) -> tuple[float, float]:
    """Return the least microseconds per request up to the replica, and back from it."""
    there = back = float("inf")
    for _ in range(4 * _REPEATS):
        bench.prepare()
        started = time.process_time_ns()
        bench.receive()
        received = time.process_time_ns()
        answers = bench.answers()
        prepared = time.process_time_ns()
        bench.reply(answers)
        there, back = min(there, received - started), min(back, time.process_time_ns() - prepared)
    return there / CONNECTIONS / 1e3, back / CONNECTIONS / 1e3


async def run() -> list[tuple[str, float]]:
    """Measure every stage."""
    with tempfile.TemporaryDirectory(prefix="micro-") as folder:
        bench = Bench(Path(folder))
        there, back = measure_halves(bench)
        call = bench.decoded()
        body = bench.requests[0].partition(b"\r\n\r\n")[2]
        wire = bench.service.match(f"/v2/models/{MODEL}/infer".encode())
        assert wire is not None
        bench.reply(bench.answers())
        parts = [
            ("  of it parsing HTTP", _without_begin(bench)),
            ("  of it decoding JSON", measure(lambda: decode_json(body, Limits()), 100)),
        ]
        answering = [
            ("  of it encoding JSON and headers", measure(lambda: wire.encode(call), 100)),
            ("  of it the record", measure(lambda: record_call(bench.recorder, call, 0.001), 100)),
            ("  of it metrics", measure(lambda: bench.meters.count(call, 0.001), 100)),
        ]
        bench.recorder.flush()
    return [
        ("request: parse, decode, decide, send", there),
        *parts,
        ("answer: settle, record, reply", back),
        *answering,
        ("both", there + back),
    ]


def _without_begin(bench: Bench) -> float:
    """Measure parsing alone: exchanges are made and complete, but never begin."""
    begin, Exchange.begin = Exchange.begin, lambda exchange: setattr(exchange, "response_complete", True)  # type: ignore[method-assign, assignment]
    try:
        return measure(bench.receive, 1) / CONNECTIONS
    finally:
        Exchange.begin = begin  # type: ignore[method-assign]


def main() -> None:
    """Print the table."""
    print(f"µs of processor time per request, {CONNECTIONS} connections")
    for stage, cost_us in asyncio.run(run()):
        print(f"{stage:<40}{cost_us:>7.2f}")


if __name__ == "__main__":
    main()
