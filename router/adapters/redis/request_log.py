"""The request log in Redis or Valkey: a stream whose entries each carry many records, every byte exactly once.

Keys, under one prefix (default `shepherd:`):

- `log`           stream   `incarnation`, `offset` (logical, in that incarnation's spool), `records` (frames as spooled)
- `log:offsets`   hash     incarnation -> logical offset up to which its spool is in the stream
- `log:bytes`     string   bytes of records in the stream, for the bound on it

One script adds an entry and moves the offset, and does neither unless the offset is still the one that the shipper
knew. So it does not matter how often, by whom, or over which half-dead connection an append is repeated. Script effects
reach Redis's own log as one transaction.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError

from router.adapters.redis.client import asyncio_client
from router.ports import StoreUnavailable
from router.requestlog.record import FirstSeen, Record, read_records

_PAGE_ENTRIES: Final = 16

# KEYS: stream, offsets, bytes. ARGV: incarnation, known offset, the records' offset, their end, records, bound.
# Returns the offset that stands. The oldest entries go when the bound is passed, a few at a time, never the newest.
_APPEND: Final = """
local stands = redis.call('HGET', KEYS[2], ARGV[1]) or '0'
if stands ~= ARGV[2] then return stands end
redis.call('XADD', KEYS[1], '*', 'incarnation', ARGV[1], 'offset', ARGV[3], 'records', ARGV[5])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
local bytes = redis.call('INCRBY', KEYS[3], #ARGV[5])
for _ = 1, 64 do
  if bytes <= tonumber(ARGV[6]) or redis.call('XLEN', KEYS[1]) < 2 then break end
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', KEYS[1], oldest[1])
  bytes = redis.call('DECRBY', KEYS[3], #oldest[2][6])
end
return ARGV[4]
"""

# KEYS: stream, bytes. ARGV: seconds. Returns how many entries older than that went, at most 64.
_EXPIRE: Final = """
local now = redis.call('TIME')
local before = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[1] * 1000
local gone = 0
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', string.format('(%.0f-0', before), 'COUNT', 64)) do
  redis.call('XDEL', KEYS[1], entry[1])
  redis.call('DECRBY', KEYS[2], #entry[2][6])
  gone = gone + 1
end
return gone
"""


class LogEntry(msgspec.Struct, frozen=True):
    """What one append added."""

    id: str
    """The stream's id; grows."""
    incarnation: str
    offset: int
    records: bytes
    """For `router.requestlog.record.read_records`."""
    is_after_gap: bool = False
    """Entries between this and the one before were deleted: whoever reads will never see them."""


class RedisRequestLog:
    """The far end of every spool, shared by all routers that are given the same URL.

    Every method raises `StoreUnavailable` when Redis cannot be reached or refuses.
    """

    def __init__(
        self, url: str, *, prefix: str = "shepherd:", retention_bytes: int = 256 << 20, timeout_s: float = 5.0
    ) -> None:
        self._redis = asyncio_client(url, timeout_s=timeout_s)
        self._stream = f"{prefix}log"
        self._offsets = f"{prefix}log:offsets"
        self._bytes = f"{prefix}log:bytes"
        self._retention_bytes = retention_bytes
        self._append = self._redis.register_script(_APPEND)
        self._expire = self._redis.register_script(_EXPIRE)

    async def close(self) -> None:
        """Give back the connections."""
        await self._redis.aclose()

    async def shipped(self, incarnation: str) -> int:
        """Return the logical offset up to which an incarnation's records are in the stream."""
        with _reporting():
            return int(await self._redis.hget(self._offsets, incarnation) or 0)

    async def append(self, incarnation: str, offset: int, records: bytes, *, known: int) -> int:
        """Add whole records that lie at `offset`, if the incarnation's offset is still `known`.

        Returns the offset that stands: the records' end when they are in the stream, by this call or an earlier one.
        """
        with _reporting():
            stands = await self._append(
                keys=[self._stream, self._offsets, self._bytes],
                args=[incarnation, known, offset, offset + len(records), records, self._retention_bytes],
            )
            return int(stands)

    async def expire(self, age_s: float) -> int:
        """Delete what has been in the stream for longer; return how many entries went."""
        total = 0
        with _reporting():
            while gone := int(await self._expire(keys=[self._stream, self._bytes], args=[age_s])):
                total += gone
        return total

    async def forget(self, incarnation: str) -> None:
        """Drop the offset of an incarnation whose spool is gone."""
        with _reporting():
            await self._redis.hdel(self._offsets, incarnation)

    async def entries(self, after: str = "0-0") -> AsyncGenerator[LogEntry, None]:
        """Yield what the stream holds after an id, oldest first, and end where the stream ends.

        Entries may be deleted while this reads, too; the next one that is left says so. Before the beginning, `0-0`,
        nothing counts as missed.
        """
        while True:
            with _reporting():
                page, is_gap = await self._page(after)
            for raw_id, fields in page:
                after = raw_id.decode()
                incarnation, offset = fields[b"incarnation"].decode(), int(fields[b"offset"])
                yield LogEntry(after, incarnation, offset, fields[b"records"], is_gap)
                is_gap = False
            if len(page) < _PAGE_ENTRIES:
                return

    async def _page(self, after: str) -> tuple[Any, bool]:
        """Read some entries, and whether any between `after` and them was deleted, as of one moment."""
        async with self._redis.pipeline(transaction=True) as both:
            both.xrange(self._stream, min=f"({after}", count=_PAGE_ENTRIES)
            both.xinfo_stream(self._stream)
            page, about = await both.execute(raise_on_error=False)
        if isinstance(page, Exception):
            raise page
        if isinstance(about, Exception) or after == "0-0":  # there is no stream yet
            return page, False
        return page, _order(about["max-deleted-entry-id"].decode()) > _order(after)

    async def entries_backwards(self) -> AsyncGenerator[LogEntry, None]:
        """Yield what the stream holds, newest first."""
        before = "+"
        while True:
            with _reporting():
                page: Any = await self._redis.xrevrange(self._stream, max=before, count=_PAGE_ENTRIES)
            for raw_id, fields in page:
                before = f"({raw_id.decode()}"
                yield LogEntry(before[1:], fields[b"incarnation"].decode(), int(fields[b"offset"]), fields[b"records"])
            if len(page) < _PAGE_ENTRIES:
                return

    async def records(self, after: str = "0-0") -> AsyncGenerator[Record, None]:
        """Yield each record once, oldest first per router; what cannot be read is left out."""
        seen = FirstSeen()
        async for entry in self.entries(after):
            for record in read_records(entry.records).records:
                if seen.is_new(record):
                    yield record


def _order(entry: str) -> tuple[int, int]:
    milliseconds, _, number = entry.partition("-")
    return int(milliseconds), int(number or 0)


@contextmanager
def _reporting() -> Iterator[None]:
    """Say what a failure means for the log."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(
            f"Redis, where the request log goes: {error}; records wait on disk until it answers"
        ) from error
