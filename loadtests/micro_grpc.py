"""Where a router's microseconds go for gRPC, as Envoy hands it on: `python -m loadtests.micro_grpc`.

As `loadtests.micro`, with one HTTP/2 connection that carries all calls: each half of the way is one read and one write.
"""

from __future__ import annotations

import asyncio
import struct
import tempfile
from pathlib import Path
from typing import cast

from loadtests.grpc_requests import SMALL
from loadtests.micro import CONNECTIONS, MODEL, Bench, Sink, measure, measure_halves
from router.gateway.dispatch.call import Call
from router.gateway.dispatch.recording import record_call
from router.gateway.grpc.wire import GrpcWire, match_grpc
from router.gateway.http.exchange import Exchange
from router.gateway.http.http2.connection import Http2Connection, Stream
from router.gateway.http.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    HEADERS,
    MAX_WINDOW,
    PREFACE,
    WINDOW_UPDATE,
    frame,
    write_u32,
)
from router.gateway.http.http2.headers import header, read_head
from serving.protocol.grpc_codec import decode_infer
from serving.protocol.grpc_forms import read_infer
from serving.protocol.messages import Limits
from serving.protocol.pb import open_inference_pb2 as pb


class GrpcBench(Bench):
    """The hot path from Envoy's bytes to those that it reads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        array = SMALL.array()
        message = pb.ModelInferRequest(model_name=MODEL)
        message.inputs.add(name="features", datatype="FP32", shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
        self.message = message.SerializeToString()
        self.heads = [_head(user) for user in range(CONNECTIONS)]
        self._first = 1
        self._prepared = b""
        self.envoy = Http2Connection(self.service.matching(match_grpc), set())
        self.envoy.connection_made(Sink())  # type: ignore[arg-type]
        self.envoy.data_received(PREFACE + frame(WINDOW_UPDATE, 0, 0, write_u32(MAX_WINDOW - FIRST_WINDOW)))

    def prepare(self) -> None:
        """Write a call on each of as many new streams as there are clients."""
        body = struct.pack(">BI", 0, len(self.message)) + self.message
        first, self._first = self._first, self._first + 2 * CONNECTIONS
        self._prepared = b"".join(
            [
                frame(HEADERS, END_HEADERS, first + 2 * user, head) + frame(DATA, END_STREAM, first + 2 * user, body)
                for user, head in enumerate(self.heads)
            ]
        )

    def receive(self) -> None:
        """Read them all at once."""
        self.envoy.data_received(self._prepared)
        self.channel._flush()  # noqa: SLF001 - what the loop does at the end of its turn

    def reply(self, answers: bytes) -> None:
        """Let the replica answer, and all answers leave."""
        self.channel.data_received(answers)
        self.envoy._flush()  # noqa: SLF001 - what the loop does at the end of its turn

    def decoded(self) -> Call:
        """Catch a call on its way."""
        self.prepare()
        self.receive()
        return next(iter(self.channel.pending.values()))


def _head(user: int) -> bytes:
    """Write what Envoy sends for a stock client that names a user."""
    said = {
        ":path": "/inference.GRPCInferenceService/ModelInfer",
        ":authority": "127.0.0.1:8001",
        "content-type": "application/grpc",
        "user-agent": "grpc-python/1.75.0 grpc-c/50.0.0 (linux; chttp2)",
        "grpc-accept-encoding": "identity, deflate, gzip",
        "x-user-id": f"user-{user}",
    }
    return b"\x83" + b"".join([header(name, value) for name, value in said.items()])


def _reading(bench: GrpcBench) -> float:
    """Measure what comes before a call begins: its stream is made, complete, and dropped."""
    begin, streams = Exchange.begin, bench.envoy._streams  # noqa: SLF001 - in place of their answers
    Exchange.begin = lambda exchange: streams.pop(cast("Stream", exchange).number)  # type: ignore[method-assign, assignment]
    least = float("inf")
    try:
        for _ in range(400):
            bench.prepare()
            least = min(least, measure(bench.receive, 1, repeats=1))
    finally:
        Exchange.begin = begin  # type: ignore[method-assign]
    return least / CONNECTIONS


async def run() -> list[tuple[str, float]]:
    """Measure every stage."""
    with tempfile.TemporaryDirectory(prefix="micro-") as folder:
        bench = GrpcBench(Path(folder))
        there, back = measure_halves(bench)
        call = bench.decoded()
        wire = GrpcWire()
        bench.reply(bench.answers())
        uncached = read_head.__globals__["_read"]
        parts = [
            ("  of it frames and headers", _reading(bench)),
            ("  of it reading the message", measure(lambda: read_infer(bench.message, Limits()), 100)),
        ]
        answering = [
            ("  of it writing message and headers", measure(lambda: wire.encode(call), 100)),
            ("  of it the record", measure(lambda: record_call(bench.recorder, call, 0.001), 100)),
        ]
        otherwise = [
            ("a header block that was not seen before", measure(lambda: uncached(bench.heads[0]), 100)),
            ("a message of another form (protobuf)", measure(lambda: decode_infer(bench.message, Limits()), 100)),
        ]
        bench.recorder.flush()
    return [
        ("request: read, decode, decide, send", there),
        *parts,
        ("answer: settle, record, reply", back),
        *answering,
        ("both", there + back),
        *otherwise,
    ]


def main() -> None:
    """Print the table."""
    print(f"µs of processor time per call, {CONNECTIONS} at once on one connection")
    for stage, cost_us in asyncio.run(run()):
        print(f"{stage:<40}{cost_us:>7.2f}")


if __name__ == "__main__":
    main()
