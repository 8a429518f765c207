"""What a retraining is told that there is to train on."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

import pytest

from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.request_log import RedisRequestLog
from router.requestlog.label import Label
from router.requestlog.record import encode_record
from router.watch.training_span import training_span
from tests.answers import a_record

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]


async def test_the_span_is_that_of_good_answers_of_the_model(valkey_socket: Path) -> None:
    """Each record once; errors, shadows, other models, and what came before or after, are not among them."""
    url, prefix, now = f"unix://{valkey_socket}", f"test-{uuid4()}:", time.time()
    log, labels = RedisRequestLog(url, prefix=prefix), RedisLabels(url, prefix=prefix)
    records = [
        a_record(1, at=now - 500),
        a_record(2, at=now - 90),
        a_record(3, at=now - 80, outcome="internal"),
        a_record(4, at=now - 95, model="other"),
        a_record(5, at=now - 99, kind="shadow"),
        a_record(6, at=now - 20),
        a_record(7, at=now + 50),
    ]
    frames = b"".join(map(encode_record, records))
    await log.append("r1", 0, frames, known=0)
    await log.append("r1-again", 0, frames, known=0)
    for model in ("flights", "flights", "other"):
        await labels.add(model, [Label("request-2", 1)], at=now)

    span = await training_span(log, labels, "flights", now - 100, now)
    nothing = await training_span(log, labels, "unheard-of", now - 100, now)
    await log.close()
    await labels.close()

    assert (span.records, span.labels) == (2, 2)
    assert (span.first_record, span.last_record) == ("r1#2", "r1#6")
    assert (span.first_at, span.last_at) == (now - 90, now - 20)
    assert (nothing.records, nothing.first_at) == (0, None)
