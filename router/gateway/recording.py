"""From a settled call to its log record."""

from __future__ import annotations

import time
from typing import Final

from router.gateway.call import Call
from router.gateway.meters import outcome_of
from router.gateway.recorder import Recorder
from router.policy.decision import Decision
from router.requestlog.record import OK, PRIMARY, SHADOW

_NOBODY: Final = Decision("", 0, "")
"""Stands for the decision of a call that none was made for."""


def record_call(recorder: Recorder, call: Call, seconds: float) -> None:
    """Add the record of a call that took `seconds`; a call that no policy decided is nobody's model."""
    decision = call.decision
    is_known = decision is not None
    decision = decision or _NOBODY
    error = call.error
    recorder.add(
        kind=SHADOW if call.primary_id else PRIMARY,
        at=time.time() - seconds,
        model=call.model if is_known else "",
        version=decision.version,
        variant=decision.variant,
        reason=decision.reason,
        revision=call.revision,
        protocol=call.protocol,
        key=decision.key,
        request_id=call.id,
        outcome=OK if error is None else outcome_of(call),
        message="" if error is None else error.message,
        duration_us=int(seconds * 1e6),
        queue_us=call.queued_us,
        batch_size=call.batch_size,
        inputs=call.packed,
        outputs=call.outputs,
        primary_id=call.primary_id,
    )
