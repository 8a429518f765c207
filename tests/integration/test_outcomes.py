"""Outcome values posted for answers are summed up by the variant that gave the answer, since the split changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.outcomes import RedisOutcomes
from router.adapters.redis.request_log import RedisRequestLog
from router.analysis.counts import Moments
from router.gateway.log.shipper import Transfer
from router.requestlog.label import Label
from router.requestlog.record import SHADOW
from tests.answers import a_recorder, a_spool, add_answer

pytestmark = pytest.mark.asyncio

AT = 1_700_000_000.25


async def test_outcomes_are_joined_with_the_variant_that_answered(valkey_socket: Path, tmp_path: Path) -> None:
    """Not with shadows, other models, earlier requests or requests that nobody knows; the last value counts."""
    url, prefix = f"unix://{valkey_socket}", "outcomes:"
    stream, labels = RedisRequestLog(url, prefix=prefix), RedisLabels(url, prefix=prefix)
    outcomes = RedisOutcomes(url, prefix=prefix)
    spool = a_spool(tmp_path)
    recorder = a_recorder(spool)
    for n in range(1, 7):
        add_answer(recorder, n, variant="stable" if n % 2 else "canary", at=AT if n < 5 else AT - 100)
    add_answer(recorder, 7, kind=SHADOW, variant="canary", request_id="copy", primary_id="request-1")
    add_answer(recorder, 8, model="other", request_id="request-8")
    recorder.flush()
    try:
        await Transfer(spool.folder, stream).ship(10)
        posted = [Label(f"request-{n}", None, float(n)) for n in (1, 2, 3, 4, 5, 6, 8, 99)]
        await labels.add("flights", [Label("request-1", None, 70.0), *posted, Label("copy", None, 9.0)], at=AT + 1)

        assert await outcomes.since("flights", AT) == {
            "stable": Moments.of([1.0, 3.0]),
            "canary": Moments.of([2.0, 4.0]),
        }
        assert await outcomes.since("other", AT) == {}
    finally:
        for each in (stream, labels, outcomes):
            await each.close()
