"""From a settled call to its log record."""

from __future__ import annotations

import time
from typing import Final

from router.gateway.dispatch.call import Call
from router.gateway.dispatch.meters import outcome_of
from router.gateway.log.recorder import Recorder
from router.policy.decision import Decision
from router.requestlog.features import NO_FEATURES, looked_up
from router.requestlog.record import OK, PRIMARY, SCHEMA, SHADOW, Record

_NOBODY: Final = Decision("", 0, "")
"""Stands for the decision of a call that none was made for."""


def record_call(recorder: Recorder, call: Call, seconds: float) -> None:
    """Add the record of a call that took `seconds`; a call that no policy decided is nobody's model."""
    decision = call.decision
    model = call.model
    if decision is None:
        decision, model = _NOBODY, ""
    primary_id, error, request = call.primary_id, call.error, call.request
    kind = SHADOW if primary_id else PRIMARY
    column = recorder.admit(model, kind, primary_id or call.id)
    if not column:
        return
    features = looked_up(request.parameters) if request is not None and request.parameters else NO_FEATURES
    key, inputs, outputs, no_inputs, no_outputs, features = recorder.payload(
        model, decision.key, call.packed, call.outputs, features
    )
    # By place and not by name: this runs for every request, and names cost more here than all of the checksum.
    record = Record(
        SCHEMA,
        recorder.next_id(),
        kind,
        time.time() - seconds,
        model,
        decision.version,
        decision.variant,
        decision.reason,
        call.revision,
        call.protocol,
        key,
        call.id,
        OK if error is None else outcome_of(call),
        "" if error is None else error.message,
        int(seconds * 1e6),
        call.queued_us,
        call.batch_size,
        primary_id,
        inputs,  # type: ignore[arg-type] # a view is written as the bytes that it shows, and need not be copied first
        outputs,  # type: ignore[arg-type]
        no_inputs,
        no_outputs,
        features,
    )
    recorder.keep(column, record)
