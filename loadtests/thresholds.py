"""When a load test fails: limits on failures and on latency, per kind of request. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Thresholds(msgspec.Struct, frozen=True):
    """What is still good."""

    fail_ratio: float
    """Largest share of failed requests, 0 to 1."""
    p95_ms: float
    """Largest 95th percentile of latency."""


class Outcome(msgspec.Struct, frozen=True):
    """What users of one kind met."""

    kind: str
    requests: int
    failures: int
    p95_ms: float


def violations(thresholds: Thresholds, outcomes: Iterable[Outcome], expected: Iterable[str]) -> list[str]:
    """Say what went beyond a limit, in words; nothing when all is well.

    A kind among `expected` that sent no request is a violation too: silence is not success.
    """
    found = []
    met = {outcome.kind: outcome for outcome in outcomes}
    for kind in sorted({*expected, *met}):
        outcome = met.get(kind)
        if outcome is None or not outcome.requests:
            found.append(f"{kind}: no request was sent")
            continue
        fail_ratio = outcome.failures / outcome.requests
        if fail_ratio > thresholds.fail_ratio:
            found.append(
                f"{kind}: {outcome.failures} of {outcome.requests} requests failed ({fail_ratio:.2%}), "
                f"more than {thresholds.fail_ratio:.2%}"
            )
        if outcome.p95_ms > thresholds.p95_ms:
            found.append(f"{kind}: p95 is {outcome.p95_ms:g} ms, more than {thresholds.p95_ms:g} ms")
    return found
