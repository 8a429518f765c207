"""What a sink is filled from: the streams of records and of labels, as rows with the place up to which they come."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.request_log import RedisRequestLog
from router.requestlog.record import FirstSeen, read_records
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
    left_out: int = 0
    """Records that could not be read, or not be laid out as rows."""
    is_after_gap: bool = False
    """Something between this and the stretch before is gone for good, as far as that can be told."""


class Source(Protocol):
    """One stream."""

    def read(self, after: str) -> AsyncIterator[Read]:
        """Yield what comes after a place, and end where the stream ends; may raise `StoreUnavailable`."""


class Records:
    """The request log, each record once."""

    def __init__(self, log: RedisRequestLog) -> None:
        self._log = log
        self._seen = FirstSeen()

    async def read(self, after: str) -> AsyncIterator[Read]:
        """See `Source`."""
        async for entry in self._log.entries(after):
            found = read_records(entry.records)
            records = [each for each in found.records if self._seen.is_new(each)]
            rows = [laid_out for each in records if (laid_out := _lay_out(partial(rows_of, each), each.id)) is not None]
            left_out = len(records) - len(rows) + len(found.corrupt)
            yield Read(entry.id, rows, len(entry.records), left_out, entry.is_after_gap)


class Labels:
    """Labels and outcomes as they were posted, repetitions too. Their stream is trimmed by length and tells no gaps."""

    def __init__(self, labels: RedisLabels) -> None:
        self._labels = labels

    async def read(self, after: str) -> AsyncIterator[Read]:
        """See `Source`."""
        async for posted in self._labels.entries(after):
            rows = _lay_out(partial(label_rows, posted.model, posted.label, posted.at), posted.id)
            yield Read(posted.id, [] if rows is None else [rows], _LABEL_BYTES, left_out=rows is None)


def _lay_out(lay_out: Callable[[], Rows], name: str) -> Rows | None:
    try:
        return lay_out()
    except ValueError as error:
        _log.error("%s cannot be laid out as rows, and is left out: %s", name, error)
        return None
