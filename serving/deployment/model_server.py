"""One loaded version behind a tensor channel: frames in, batches through the backend, frames out. Knows no Ray."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from serving.backends.backend import Backend
from serving.batching.batcher import Batcher, BatchLimits, OnRun
from serving.batching.job import Job, Plan, Result
from serving.batching.sizing import batching_pays
from serving.channel.endpoint import Endpoint
from serving.channel.frames import Frame, Kind, frame_head, unpack_extra
from serving.channel.server import ChannelServer, Connection
from serving.protocol.arrays import Array, to_array
from serving.protocol.errors import ServingError
from serving.protocol.messages import Buffer, InferRequest, RequestedOutput, Tensor
from serving.protocol.packing import unpack_tensors
from serving.protocol.validation import compile_validator

#: Plans kept per model; requests of one client have one header, so a handful is the rule.
MAX_PLANS: Final = 4096
#: Row counts timed at warm-up.
WARM_UP_ROWS: Final = (1, 8)


class ModelServer:
    """Serves one backend to any number of routers."""

    def __init__(
        self,
        backend: Backend,
        *,
        token: bytes,
        limits: BatchLimits | None = None,
        max_in_flight: int = 256,
        replica_id: str = "",
        node: str = "",
        on_run: OnRun | None = None,
    ) -> None:
        self._backend = backend
        self._signature = backend.signature
        self._validate = compile_validator(self._signature)
        self._all_outputs = tuple(spec.name for spec in self._signature.outputs)
        self._limits = limits or BatchLimits()
        self._channel = ChannelServer(
            token=token, max_in_flight=max_in_flight, on_frame=self._on_frame, on_lost=self._on_lost
        )
        self._replica_id = replica_id
        self._node = node
        self._on_run = on_run
        self._plans: dict[bytes, Plan] = {}
        self._jobs: dict[Connection, dict[int, Job]] = {}
        self._batcher: Batcher | None = None
        self._endpoint: Endpoint | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where routers reach this replica; known once started."""
        assert self._endpoint is not None, "start() first"
        return self._endpoint

    async def start(self, uds: str, tcp_host: str | None = None, *, example: tuple[Tensor, ...] = ()) -> None:
        """Warm up with `example` (the golden inputs), then listen."""
        limits, expected_run_s = await asyncio.to_thread(self._warm_up, example)
        self._batcher = Batcher(self._backend, limits, expected_run_s=expected_run_s, on_run=self._on_run)
        tcp = await self._channel.listen(uds, tcp_host)
        self._endpoint = Endpoint(
            self._replica_id, uds, tcp, self._node, os.getpid(), self._signature, self._channel.max_in_flight
        )

    @property
    def waiting(self) -> int:
        """Requests that wait for a run."""
        return self._batcher.waiting if self._batcher else 0

    async def probe(self, inputs: tuple[Tensor, ...], *, timeout_s: float) -> tuple[Tensor, ...] | None:
        """Answer as if a router had asked; None when the model is busy, which is proof enough that it lives.

        Raises:
            ServingError: the model failed.
            TimeoutError: it did not answer.
        """
        batcher = self._batcher
        if batcher is None or not batcher.idle:
            return None
        entries = tuple((t.name, t.datatype, t.shape, len(t.data)) for t in inputs)
        answer: asyncio.Future[Result | ServingError] = asyncio.get_running_loop().create_future()
        job = Job(
            Plan(entries, self._all_outputs, 1, object()),
            b"".join([tensor.data for tensor in inputs]),
            arrived=time.monotonic(),
            deadline=float("inf"),
            shadow=False,
            done=answer.set_result,
        )
        batcher.submit(job)
        try:
            outcome = await asyncio.wait_for(answer, timeout_s)
        finally:
            job.cancelled = True
        if isinstance(outcome, ServingError):
            raise outcome
        return unpack_tensors(b"".join(outcome.packed))

    def stats(self) -> dict[str, float]:
        """Load figures for autoscaling and metrics; see `Batcher.stats`."""
        return self._batcher.stats() if self._batcher else {}

    async def drain(self, timeout_s: float) -> bool:
        """Tell routers to go elsewhere and wait until everything received is answered; False when time ran out."""
        self._channel.go_away()
        deadline = time.monotonic() + timeout_s
        while any(self._jobs.values()) or not (self._batcher is None or self._batcher.idle):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    async def close(self) -> None:
        """Stop at once: what still waits is refused as unavailable, so that routers retry it elsewhere."""
        if self._batcher:
            self._batcher.close()
        await self._channel.close()
        self._backend.close()

    def _warm_up(self, example: tuple[Tensor, ...]) -> tuple[BatchLimits, float]:
        """Run the example alone and stacked; decide whether batching pays."""
        if not example:
            return self._limits if self._signature.batchable else BatchLimits(max_rows=1), 0.0
        single = {tensor.name: to_array(tensor) for tensor in example}
        timings = {1: self._time(single)}
        if self._signature.batchable and self._limits.max_rows > 1 and all(array.shape[0] for array in single.values()):
            stacked = WARM_UP_ROWS[1]
            timings[stacked] = self._time({name: np.concatenate([a[:1]] * stacked) for name, a in single.items()})
            one = self._time({name: array[:1] for name, array in single.items()})
            if batching_pays({1: one, stacked: timings[stacked]}):
                return self._limits, one
        return BatchLimits(max_rows=1, objective_s=self._limits.objective_s), timings[1]

    def _time(self, inputs: dict[str, Array]) -> float:
        """Best of three runs after a first that pays for lazy set-up."""
        best = float("inf")
        self._backend.infer(inputs, self._all_outputs)
        for _ in range(3):
            started = time.perf_counter()
            self._backend.infer(inputs, self._all_outputs)
            best = min(best, time.perf_counter() - started)
        return best

    def _on_lost(self, connection: Connection) -> None:
        for job in self._jobs.pop(connection, {}).values():
            job.cancelled = True

    def _on_frame(self, connection: Connection, frame: Frame) -> None:
        if frame.kind == Kind.INFER:
            self._infer(connection, frame)
        elif frame.kind == Kind.CANCEL:
            job = self._jobs.get(connection, {}).pop(frame.call_id, None)
            if job:
                job.cancelled = True

    def _infer(self, connection: Connection, frame: Frame) -> None:
        body = frame.body
        header_end = 4 + int.from_bytes(body[:4], "little")
        header = bytes(body[:header_end])
        try:
            plan = self._plans.get(header) if not frame.extra else None
            if plan is None:
                plan = self._plan(frame, header)
        except ServingError as error:
            self._answer(connection, frame.call_id, error)
            return
        now = time.monotonic()
        job = Job(
            plan,
            body[header_end:],
            arrived=now,
            deadline=now + frame.first / 1e3 if frame.first else float("inf"),
            shadow=bool(frame.small),
            done=self._answerer(connection, frame.call_id),
        )
        self._jobs.setdefault(connection, {})[frame.call_id] = job
        assert self._batcher is not None, "frames come only after start()"
        self._batcher.submit(job)

    def _answerer(self, connection: Connection, call_id: int) -> Callable[[Result | ServingError], None]:
        return lambda outcome: self._answer(connection, call_id, outcome)

    def _plan(self, frame: Frame, header: bytes) -> Plan:
        """Check a request once per distinct header; frames with extras are checked each time."""
        outputs, parameters = unpack_extra(frame.extra)
        tensors = unpack_tensors(frame.body)
        requested = tuple(RequestedOutput(name) for name in outputs)
        self._validate(InferRequest(inputs=tensors, outputs=requested, parameters=parameters))
        entries = tuple((t.name, t.datatype, t.shape, len(t.data)) for t in tensors)
        names = outputs or self._all_outputs
        if self._signature.batchable and len({shape[0] for _, _, shape, _ in entries}) == 1:
            lane = (names, tuple((name, datatype, shape[1:]) for name, datatype, shape, _ in entries))
            plan = Plan(entries, names, entries[0][2][0], lane)
        else:
            return Plan(entries, names, 1, object())  # a lane of its own: never stacked
        if not frame.extra:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[header] = plan
        return plan

    def _answer(self, connection: Connection, call_id: int, outcome: Result | ServingError) -> None:
        jobs = self._jobs.get(connection)
        if jobs is not None:
            jobs.pop(call_id, None)
        if not connection.is_open:
            return
        if isinstance(outcome, ServingError):
            message = outcome.message.encode()
            connection.send([frame_head(Kind.ERROR, len(message), call_id=call_id, small=outcome.kind), message])
            return
        pieces: list[Buffer] = outcome.packed
        size = sum([len(piece) for piece in pieces])
        head = frame_head(
            Kind.RESULT,
            size,
            call_id=call_id,
            small=min(outcome.batch_size, 255),
            first=_microseconds(outcome.queued_s),
            second=_microseconds(outcome.run_s),
        )
        connection.send([head, *pieces])


def _microseconds(seconds: float) -> int:
    return min(int(seconds * 1e6), 0xFFFFFFFF)
