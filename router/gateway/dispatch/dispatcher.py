"""The request path: admit, decide, call, settle, record, reply.

A call enters with `dispatch`, which is synchronous up to the frame it sends, and leaves through its door when an
answer, an error, a deadline or a cancellation settles it. Whatever one read of a channel settles together is recorded
together, with one write, and only then released to the clients: an answered request is in the log, whatever happens
next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from router.access.scope import Action
from router.gateway.authorization import Authorizer
from router.gateway.dispatch.call import Call
from router.gateway.dispatch.deadlines import SLOT_S, DeadlineWheel
from router.gateway.dispatch.defects import as_answer
from router.gateway.dispatch.meters import Meters
from router.gateway.dispatch.packing import pack
from router.gateway.dispatch.policy_view import PolicyView
from router.gateway.dispatch.pool import VersionPool
from router.gateway.dispatch.recording import record_call
from router.gateway.dispatch.sequences import Sequences, sequence_id
from router.gateway.log.recorder import Recorder
from router.policy.decision import Decision, decide
from serving.channel.frames import Frame, Kind
from serving.protocol.errors import ErrorKind, ServingError, not_found

#: Replicas that one call may be sent to: an inference is idempotent, so a lost one is tried once more.
MAX_ATTEMPTS: Final = 2

_log = logging.getLogger(__name__)
_stopping: Final = partial(ServingError, ErrorKind.UNAVAILABLE, "this gateway is stopping; retry later")

PoolOf = Callable[[str, int], VersionPool]
Mirror = Callable[[Call], None]


class Dispatcher:
    """Takes calls from the doors and owns them until they are settled."""

    def __init__(
        self,
        *,
        view: PolicyView,
        pool_of: PoolOf,
        recorder: Recorder,
        meters: Meters,
        authorizer: Authorizer,
        max_in_flight: int,
    ) -> None:
        self._view = view
        self._pool_of = pool_of
        self._recorder = recorder
        self._meters = meters
        self._authorizer = authorizer
        self._max_in_flight = max_in_flight
        self._loop = asyncio.get_running_loop()
        self._wheel: DeadlineWheel[Call] = DeadlineWheel(self.now())
        self._sweep = self._loop.call_later(SLOT_S, self._expire)
        self._sequences = Sequences()
        self._settled: list[Call] = []
        self._release_scheduled = False
        self.in_flight = 0
        self.mirror: Mirror | None = None
        """Called with each answered primary that has shadows, after its answer is released."""

    def __repr__(self) -> str:
        return f"<Dispatcher {self.in_flight}/{self._max_in_flight} in flight>"

    now = staticmethod(time.monotonic)

    def dispatch(self, call: Call, pinned: int | None) -> None:
        """Send a decoded call on its way; it is settled later, or at once when it is refused."""
        request = call.request
        assert request is not None, "only a decoded request is dispatched; others are refused"
        try:
            decision = self.decide(call, pinned)
            if self.in_flight >= self._max_in_flight:
                raise self._full()
            pack(call, request)
            if request.parameters:
                call.sequence = self._sequences.follow(call.model, request.parameters, decision)
                if call.sequence is not None:
                    call.decision = decision = call.sequence.decision
            pool = self._pool_of(call.model, decision.version)
        except Exception as error:  # noqa: BLE001 - one request must not end a connection that others share
            self.refuse(call, error)
        else:
            self.launch(call, pool)

    def launch(self, call: Call, pool: VersionPool) -> None:
        """Hand a decided call to a pool and watch its deadline; shadows enter here."""
        if not call.primary_id:
            self.in_flight += 1
        self._wheel.add(call, call.deadline)
        try:
            pool.submit(call)
        except Exception as error:  # noqa: BLE001 - whatever it is, the call gives its place back now
            call.error = as_answer(call, error)
            self._finish(call)

    def refuse(self, call: Call, error: BaseException) -> None:
        """Settle a call that never got as far as a replica; an error that nobody has foreseen is logged."""
        call.error = as_answer(call, error)
        self._settle(call)

    def cancel(self, call: Call) -> None:
        """The client went away: stop caring, and tell the replica."""
        if call.settled:
            return
        self._withdraw(call)
        call.error = ServingError(ErrorKind.CANCELLED, "the client closed the connection before the answer")
        self._finish(call)

    def on_answers(self, answers: list[tuple[Call, Frame]]) -> None:
        """Settle what one read of a channel brought, then record and release all of it."""
        for call, frame in answers:
            if call.settled:
                continue
            if frame.kind == Kind.ERROR:
                kind = ErrorKind(frame.small)
                if kind is ErrorKind.UNAVAILABLE and self._retry(call):
                    continue
                call.error = ServingError(kind, str(frame.body, "utf-8", "replace"))
            else:
                call.outputs = frame.body
                call.batch_size = frame.small
                call.queued_us = frame.first
                call.run_us = frame.second
            self._finish(call)
        self._release()

    def on_unsent(self, call: Call, error: Exception) -> None:
        """Settle a call that could not be sent, for a reason that is a defect of ours."""
        _log.error("Cannot send %r", call, exc_info=error)
        call.error = ServingError(ErrorKind.INTERNAL, "the request could not be sent to the model")
        self._finish(call)

    def on_lost_calls(self, calls: list[Call]) -> None:
        """Try each call once more on another replica, or on the one that takes the lost one's place."""
        for call in calls:
            if call.settled or self._retry(call):
                continue
            call.error = (
                call.sequence.lost()
                if call.sequence is not None
                else ServingError(
                    ErrorKind.UNAVAILABLE, "two replicas were lost while they held this request; retry later"
                )
            )
            self._finish(call)

    def close(self) -> None:
        """Settle every call that has no answer yet as UNAVAILABLE, shadows too, and refuse those that still come."""
        self._max_in_flight = 0
        self.mirror = None
        self._sweep.cancel()
        # Those that wait come first: a credit that another gives back would send them to a replica.
        for call in sorted(self._wheel.take_all(), key=lambda call: call.channel is not None):
            self._withdraw(call)
            call.error = _stopping()
            self._finish(call)
        self._release()

    def authorize(self, call: Call) -> None:
        """Check that the caller may ask this model; before anything is said of it, even that there is none.

        Raises:
            ServingError: UNAUTHENTICATED or FORBIDDEN.
        """
        if self._authorizer.required:
            self._authorizer.require(call.caller, Action.INFER, call.model, call.protocol)

    def decide(self, call: Call, pinned: int | None) -> Decision:
        """Decide who answers a call, if its caller may ask; asked twice in a row, it decides the same.

        Raises:
            ServingError: UNAUTHENTICATED, FORBIDDEN or NOT_FOUND.
        """
        self.authorize(call)
        request = call.request
        assert request is not None
        served = self._view.models.get(call.model)
        if pinned is not None and not self._view.knows(call.model, pinned):
            raise not_found(f'model "{call.model}" has no version {pinned} here{self._known(call.model)}')
        if served is None:
            if pinned is None:
                raise not_found(f'unknown model "{call.model}"{self._known(call.model)}')
            call.decision = Decision("", pinned, "pin")
            return call.decision
        call.revision = served.stored.revision
        call.decision = decide(
            served.compiled,
            pinned=pinned,
            headers=call.headers,
            parameters=request.parameters,
            request_id=(request.parameters and sequence_id(request.parameters))
            or request.id
            or call.headers.get("x-request-id")
            or call.id,
            unavailable=served.unavailable,
        )
        return call.decision

    def _full(self) -> ServingError:
        if not self._max_in_flight:
            return _stopping()
        return ServingError(ErrorKind.OVERLOADED, f"this gateway already holds {self.in_flight} requests; retry later")

    def _known(self, model: str) -> str:
        versions = self._view.versions_of(model)
        return f"; versions {', '.join(map(str, versions))} can be called by number" if versions else ""

    def _retry(self, call: Call) -> bool:
        if (
            call.attempts >= MAX_ATTEMPTS
            or call.pool is None
            or call.sequence is not None
            or call.deadline <= self.now()
        ):
            return False
        refused, call.channel = call.channel, None
        self._meters.count_retry(call)
        call.pool.submit(call, elsewhere_than=refused)
        return True

    def _withdraw(self, call: Call) -> None:
        if call.pool is not None:
            call.pool.withdraw(call)

    def _expire(self) -> None:
        self._sweep = self._loop.call_later(SLOT_S, self._expire)
        for call in self._wheel.expire(self.now()):
            if call.settled:
                continue
            held = call.channel is None
            self._withdraw(call)
            reason = "no replica was there to take the request" if held else "the model did not answer"
            call.error = ServingError(ErrorKind.DEADLINE, f"{reason} before its deadline")
            self._finish(call)
        self._release()

    def _finish(self, call: Call) -> None:
        """Settle a launched call."""
        self._wheel.discard(call)
        if not call.primary_id:
            self.in_flight -= 1
        self._settle(call)

    def _settle(self, call: Call) -> None:
        call.settled = True
        call.door.answer(call)
        seconds = self.now() - call.started
        try:
            record_call(self._recorder, call, seconds)
        except Exception:  # noqa: BLE001 - its client waits, and those whose answers came in the same read
            _log.exception("Cannot record %r", call)
        self._meters.count(call, seconds)
        self._settled.append(call)
        if not self._release_scheduled:
            self._release_scheduled = True
            self._loop.call_soon(self._release)

    def _release(self) -> None:
        """Write the records, then let the answers go."""
        self._release_scheduled = False
        if not self._settled:
            return
        settled, self._settled = self._settled, []
        self._recorder.flush()
        for call in settled:
            try:
                call.door.release(call)
            except Exception:  # noqa: BLE001 - the others must have their answers, and the replica its connection
                _log.exception("Cannot send the answer to %r", call)
        if self.mirror is not None:
            for call in settled:
                if call.decision is not None and call.decision.shadows and call.packed:
                    self.mirror(call)
