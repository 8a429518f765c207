"""What a sink is filled from: the streams of records and of labels, as rows with the place up to which they come."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from router.adapters.redis_labels import RedisLabels
from router.adapters.redis_request_log import RedisRequestLog
from router.requestlog.record import FirstSeen, Record, read_records
from router.requestlog.rows import Rows, label_rows, rows_of

_LABEL_BYTES = 100
_log = logging.getLogger(__name__)


class Read(NamedTuple):
    """A stretch of a stream."""

    place: str
    """Id of its last entry."""
    rows: Sequence[Rows]
    size_bytes: int
    """About; bounds what is held until the next commit."""


class Source(Protocol):
    """One stream. Both methods may raise `StoreUnavailable`."""

    def read(self, after: str) -> AsyncIterator[Read]:
        """Yield what comes after a place, and end where the stream ends."""

    async def has_lost_after(self, place: str) -> bool:
        """Tell whether something after a place is gone for good, as far as that can be told."""


class Records:
    """The request log, each record once."""

    def __init__(self, log: RedisRequestLog) -> None:
        self._log = log
        self._seen = FirstSeen()
        self.has_lost_after = log.has_lost_after

    async def read(self, after: str) -> AsyncIterator[Read]:
        """See `Source`."""
        async for entry in self._log.entries(after):
            records = [each for each in read_records(entry.records).records if self._seen.is_new(each)]
            rows = [laid_out for record in records if (laid_out := _lay_out(record)) is not None]
            yield Read(entry.id, rows, len(entry.records))


class Labels:
    """Labels and outcomes as they were posted, repetitions too."""

    def __init__(self, labels: RedisLabels) -> None:
        self._labels = labels

    async def read(self, after: str) -> AsyncIterator[Read]:
        """See `Source`."""
        async for posted in self._labels.entries(after):
            yield Read(posted.id, [label_rows(posted.model, posted.label, posted.at)], _LABEL_BYTES)

    async def has_lost_after(self, place: str) -> bool:
        """Say no: a stream that is trimmed by length does not tell."""
        return False


def _lay_out(record: Record) -> Rows | None:
    try:
        return rows_of(record)
    except (ValueError, OverflowError):  # a clock that was far off: no calendar has its day
        _log.warning("Record %s cannot be laid out and is left out", record.id)
        return None
