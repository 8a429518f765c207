"""From a settled call to its log record."""

from __future__ import annotations

import time

from router.gateway.call import Call
from router.gateway.meters import outcome_of
from router.gateway.recorder import Recorder
from router.requestlog.record import PRIMARY, SHADOW


def record_call(recorder: Recorder, call: Call, seconds: float) -> None:
    """Add the record of a call that took `seconds`; a call that no policy decided is nobody's model."""
    decision = call.decision
    recorder.add(
        kind=SHADOW if call.primary_id else PRIMARY,
        at=time.time() - seconds,
        model=call.model if decision is not None else "",
        version=decision.version if decision is not None else 0,
        variant=decision.variant if decision is not None else "",
        reason=decision.reason if decision is not None else "",
        revision=call.revision,
        protocol=call.protocol,
        key=decision.key if decision is not None else "",
        request_id=call.id,
        outcome=outcome_of(call),
        message=call.error.message if call.error is not None else "",
        duration_us=int(seconds * 1e6),
        queue_us=call.queued_us,
        batch_size=call.batch_size,
        inputs=call.packed,
        outputs=call.outputs,
        primary_id=call.primary_id,
    )
