"""Looks in the log for what a retraining could use; once an incident, so it may take its time."""

from __future__ import annotations

from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.request_log import RedisRequestLog
from router.requestlog.record import FirstSeen, read_records
from router.requestlog.span import Span


async def training_span(log: RedisRequestLog, labels: RedisLabels, model: str, since: float, until: float) -> Span:
    """Read the span of a model's records and labels between two moments in Unix seconds.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    span, seen = Span(), FirstSeen()
    place = f"{since * 1000:.0f}-0"  # ids of both streams begin with the millisecond at which an entry came
    async for entry in log.entries(place):
        for record in read_records(entry.records).records:
            if record.model == model and since <= record.at <= until and seen.is_new(record):
                span.add(record)
    async for posted in labels.entries(place):
        span.labels += posted.model == model and posted.at <= until
    return span
