"""The audit log as a Redis stream: what every store that writes to it shares.

An entry's id is `<seq>-0`. Who appends WATCHes the stream from before it reads the last entry until its EXEC, so no two
entries follow the same one, and whatever else the transaction changes stands if and only if its entry does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, WatchError
from redis.exceptions import TimeoutError as RedisTimeoutError

from router.policy.audit import AuditEntry

# Each lost race means that somebody else's write went through, so this many in a row is a storm and not a hang.
_MAX_RACES: Final = 100

_Answer = TypeVar("_Answer")
_decoder = msgspec.json.Decoder(AuditEntry)


class TooManyWriters(RedisError):
    """Every attempt was overtaken by another writer."""

    def __str__(self) -> str:
        return "too many writers at once; try again"


async def transact(redis: Redis, watched: Sequence[str], act: Callable[[Pipeline], Awaitable[_Answer]]) -> _Answer:
    """Run a transaction that depends on the keys it watches, again whenever another writer was faster.

    `act` reads what it depends on, opens MULTI and queues the changes; it is called afresh for each attempt.
    """
    for _ in range(_MAX_RACES):
        async with redis.pipeline(transaction=True) as pipe:
            try:
                await pipe.watch(*watched)
                answer = await act(pipe)
                await pipe.execute()
            except WatchError as error:
                _check_connected(error)
            else:
                return answer
    raise TooManyWriters


async def read_last_entry(pipe: Pipeline, stream: str) -> AuditEntry | None:
    """Read the end of the log on a connection that watches it."""
    entries: Any = await pipe.xrevrange(stream, count=1)
    return decode_entry(entries[0][1]) if entries else None


def queue_entry(pipe: Pipeline, stream: str, entry: AuditEntry) -> None:
    """Have a transaction append an entry."""
    pipe.xadd(stream, {"entry": msgspec.json.encode(entry)}, id=f"{entry.seq}-0")


def decode_entry(fields: Mapping[bytes, bytes]) -> AuditEntry:
    """Read an entry of the stream."""
    return _decoder.decode(fields[b"entry"])


def _check_connected(error: WatchError) -> None:
    """Raise unless `error` means a lost race.

    The client also raises it for a connection lost while watching, when the write may or may not have taken effect:
    trying that again could report a conflict with ourselves.
    """
    cause = error.__context__
    if isinstance(cause, RedisConnectionError | RedisTimeoutError):
        raise cause
