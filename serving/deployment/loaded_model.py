"""One loaded version: frames of any connection in, batches through the backend, frames out. Knows no Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from serving.backends.backend import Agreement, Backend, RemoteBackend
from serving.batching.batcher import Batcher, BatchLimits, OnRun
from serving.batching.concurrent import ConcurrentRunner
from serving.batching.job import Job, Plan, Result
from serving.batching.shadow_executor import ShadowsApart
from serving.channel.frames import MAX_BODY_BYTES, Frame, Kind, frame_head, result_head, unpack_extra
from serving.channel.server import Connection
from serving.deployment.warm_up import warm_up
from serving.protocol.arrays import to_array
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import Buffer, InferRequest, RequestedOutput, Tensor
from serving.protocol.packing import header_bytes, unpack_tensors
from serving.protocol.validation import compile_validator

#: Plans kept per model; requests of one client have one header, so a handful is the rule.
MAX_PLANS: Final = 4096


class LoadedModel:
    """Serves one backend to the connections that others bring it."""

    def __init__(
        self,
        backend: Backend,
        *,
        limits: BatchLimits | None = None,
        on_run: OnRun | None = None,
        agrees: Agreement = lambda _: None,
        unbatched_because: str | None = None,
        are_shadows_apart: bool = True,
    ) -> None:
        """Take a loaded backend.

        Args:
            backend: loaded.
            limits: how far batches and the queue may grow.
            on_run: told of each run.
            agrees: judges a remote backend's answers to the example.
            unbatched_because: a reason not to batch.
            are_shadows_apart: run shadows in a thread that yields while nobody else is answered; not where other
                versions of the process are, which that thread could keep from the interpreter's lock.
        """
        self._backend = backend
        self._validate = compile_validator(backend.signature)
        self._all_outputs = tuple(spec.name for spec in backend.signature.outputs)
        self._limits = limits or BatchLimits()
        self._on_run = on_run
        self._agrees = agrees
        self._unbatched_because = unbatched_because
        self._plans: dict[bytes, Plan] = {}
        self._jobs: dict[Connection, dict[int, Job]] = {}
        self._are_shadows_apart = are_shadows_apart
        self._batcher: Batcher | ShadowsApart | ConcurrentRunner | None = None
        self._prober: Batcher | None = None
        self.signature: Final = backend.signature
        self.facts: dict[str, str | int | float] = {}
        """How the model is run, for operators; known once started."""

    async def start(self, example: tuple[Tensor, ...] = ()) -> None:
        """Warm up with `example` (the golden inputs)."""
        inputs = {tensor.name: to_array(tensor) for tensor in example}
        facts = {name: value for name, value in self._backend.describe().items() if value != ""}
        if isinstance(self._backend, RemoteBackend):
            await self._backend.start(inputs, self._agrees)
            self._batcher = ConcurrentRunner(self._backend, self._limits, on_run=self._on_run)
        else:
            because = self._unbatched_because
            measured = await asyncio.to_thread(
                lambda: warm_up(self._backend, inputs, self._limits, unbatched_because=because)
            )
            if self._are_shadows_apart:
                apart = ShadowsApart(self._backend, measured.limits, expected_run_s=measured.run_s, on_run=self._on_run)
                self._batcher, self._prober = apart, apart.ordinary
            else:
                self._batcher = self._prober = Batcher(
                    self._backend, measured.limits, expected_run_s=measured.run_s, on_run=self._on_run
                )
            facts |= {"batching": measured.batching, "run_ms": round(measured.run_s * 1e3, 3)}
        self.facts = facts

    @property
    def is_remote(self) -> bool:
        """The model runs elsewhere, and its backend watches it there."""
        return isinstance(self._backend, RemoteBackend)

    @property
    def idle(self) -> bool:
        """Everything received is answered."""
        return not any(self._jobs.values()) and (self._batcher is None or self._batcher.idle)

    @property
    def waiting(self) -> int:
        """Requests that wait for a run."""
        return self._batcher.waiting if self._batcher else 0

    async def probe(self, inputs: tuple[Tensor, ...], *, timeout_s: float) -> tuple[Tensor, ...] | None:
        """Answer as if a router had asked; None when the model is busy, which is proof enough that it lives.

        A remote backend probes its own servers: a replica that is replaced would not bring them back.

        Raises:
            ServingError: the model failed.
            TimeoutError: it did not answer.
        """
        if self._prober is None or self._batcher is None or not self._batcher.idle:
            return None
        entries = tuple((t.name, t.datatype, t.shape, len(t.data)) for t in inputs)
        # Its real rows, though it is never stacked: what one row takes is learned from runs that say they have one.
        rows = next((t.shape[0] for t in inputs if t.shape), 1) if self.signature.batchable else 1
        answer: asyncio.Future[Result | ServingError] = asyncio.get_running_loop().create_future()
        job = Job(
            Plan(entries, self._all_outputs, rows, object()),
            b"".join([tensor.data for tensor in inputs]),
            arrived=time.monotonic(),
            deadline=float("inf"),
            shadow=False,
            done=answer.set_result,
        )
        self._prober.submit(job)  # not as a client's call: those decide what shadows may take
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

    async def close(self) -> None:
        """Stop at once: what still waits is refused as unavailable, so that routers retry it elsewhere."""
        if self._batcher:
            self._batcher.close()
        if isinstance(self._backend, RemoteBackend):
            await self._backend.stop()
        await asyncio.to_thread(self._backend.close)

    def on_lost(self, connection: Connection) -> None:
        """Forget what a router asked for that has gone."""
        assert self._batcher is not None, "connections come only after start()"
        for job in self._jobs.pop(connection, {}).values():
            self._batcher.cancel(job)

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        """Take a request, or the news that nobody waits for one any more."""
        if frame.kind == Kind.INFER:
            self.infer(connection, frame, time.monotonic())
        elif frame.kind == Kind.CANCEL:
            job = self._jobs.get(connection, {}).pop(frame.call_id, None)
            if job and self._batcher:
                self._batcher.cancel(job)

    def infer(self, connection: Connection, frame: Frame, arrived: float) -> None:
        """Take a request that arrived at a time, in monotonic seconds: its deadline counts from then."""
        body = frame.body
        header = header_bytes(body)
        try:
            plan = self._plans.get(header) if not frame.extra else None
            if plan is None:
                plan = self._plan(frame, header)
        except ServingError as error:
            self._answer(connection, frame.call_id, error)
            return
        job = Job(
            plan,
            body[len(header) :],
            arrived=arrived,
            deadline=arrived + frame.first / 1e3 if frame.first else float("inf"),
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
        if self.signature.batchable and len({shape[0] for _, _, shape, _ in entries}) == 1:
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
        size = sum([len(piece) for piece in outcome.packed]) if isinstance(outcome, Result) else 0
        if size > MAX_BODY_BYTES:  # the router would drop the connection, and all that waits on it
            outcome = ServingError(
                ErrorKind.MODEL_FAILED,
                f"the answer has {size} bytes, the limit is {MAX_BODY_BYTES}: ask for less at once",
            )
        if isinstance(outcome, ServingError):
            message = outcome.message.encode()
            connection.send([frame_head(Kind.ERROR, len(message), call_id=call_id, small=outcome.kind), message])
            return
        pieces: list[Buffer] = outcome.packed
        head = result_head(call_id, size, outcome.batch_size, int(outcome.queued_s * 1e6), int(outcome.run_s * 1e6))
        connection.send([head, *pieces])
