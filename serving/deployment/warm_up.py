"""Warms a model up before it is ready, and decides from what it measures whether requests are batched. Blocks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import msgspec

from serving.backends.backend import Array, Backend
from serving.backends.example import stacked
from serving.batching.batcher import BatchLimits
from serving.batching.sizing import batching_pays

#: Rows of the batch that is timed against single runs.
TRIED_ROWS: Final = 8


class WarmUpResult(msgspec.Struct, frozen=True):
    """What warming up has shown."""

    limits: BatchLimits
    """As given, or with batching off."""
    run_s: float
    """Seconds of one run of one row, or of the example where rows cannot be told apart."""
    batching: str
    """Whether requests are batched, and why not, in words for an operator."""


def warm_up(
    backend: Backend, example: Mapping[str, Array], limits: BatchLimits, *, unbatched_because: str | None = None
) -> WarmUpResult:
    """Run the example alone and stacked, and every size up to the limit once, so that no request pays for lazy set-up.

    Args:
        backend: loaded.
        example: the golden inputs; empty when there are none.
        limits: what the version asks for.
        unbatched_because: a reason found elsewhere not to batch.
    """
    reason = unbatched_because or _forbidden(backend, example, limits)
    if not example:
        return WarmUpResult(limits if reason is None else _single(limits), 0.0, _words(limits, reason))
    if reason is not None:
        return WarmUpResult(_single(limits), _best_s(backend, example), _words(limits, reason))
    row = {name: array[:1] for name, array in example.items()}
    one_s, many_s = _best_s(backend, row), _best_s(backend, stacked(row, TRIED_ROWS))
    if not batching_pays({1: one_s, TRIED_ROWS: many_s}):
        reason = f"{TRIED_ROWS} rows take {many_s / one_s:.1f} times as long as one: it does not pay"
        return WarmUpResult(_single(limits), one_s, _words(limits, reason))
    size = 2
    while size <= limits.max_rows:
        if size != TRIED_ROWS:
            backend.infer(stacked(row, size), ())
        size *= 2
    return WarmUpResult(limits, one_s, _words(limits, None))


def _forbidden(backend: Backend, example: Mapping[str, Array], limits: BatchLimits) -> str | None:
    if limits.max_rows <= 1:
        return "tag shepherd.max_batch is 1"
    if not backend.signature.batchable:
        return "the model has an axis of fixed size in front, or none"
    if example and not all(array.ndim and array.shape[0] for array in example.values()):
        return "the golden example has no rows"
    return None


def _words(limits: BatchLimits, reason: str | None) -> str:
    return f"off: {reason}" if reason else f"up to {limits.max_rows} rows"


def _single(limits: BatchLimits) -> BatchLimits:
    return msgspec.structs.replace(limits, max_rows=1)


def _best_s(backend: Backend, inputs: Mapping[str, Array]) -> float:
    """Best of three runs after a first that pays for lazy set-up."""
    best = float("inf")
    backend.infer(inputs, ())
    for _ in range(3):
        started = time.perf_counter()
        backend.infer(inputs, ())
        best = min(best, time.perf_counter() - started)
    return best
