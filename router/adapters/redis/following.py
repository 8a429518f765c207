"""Following what is kept in Redis: told by pub/sub, and looking besides, since what pub/sub cannot send is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from router.cancellation import end_if_cancelled
from router.ports import StoreUnavailable

_log = logging.getLogger(__name__)

_FIRST_BACKOFF_S: Final = 0.05
_MAX_BACKOFF_S: Final = 1.0

_News = TypeVar("_News")


async def follow(
    redis: Redis, channel: str, read: Callable[[], Awaitable[_News | None]], *, poll_s: float, what: str
) -> AsyncGenerator[_News, None]:
    """Yield what `read` finds, now and after each message on the channel; it looks every `poll_s` besides.

    Redis away: waits for it, as long as it takes.

    Args:
        redis: the connections.
        channel: where changes are announced.
        read: reads; None when there is nothing new. May raise `RedisError` or `StoreUnavailable`.
        poll_s: how long an announcement that was lost may go unnoticed.
        what: is followed, and where: for the log.
    """
    backoff_s = _FIRST_BACKOFF_S
    while True:
        try:
            async with redis.pubsub() as subscription:
                await subscription.subscribe(channel)
                while True:
                    end_if_cancelled()
                    news = await read()
                    if news is not None:
                        yield news
                    if backoff_s > _FIRST_BACKOFF_S:
                        _log.info("following %s again", what)
                        backoff_s = _FIRST_BACKOFF_S
                    await subscription.get_message(ignore_subscribe_messages=True, timeout=poll_s)
        except (RedisError, OSError, StoreUnavailable) as error:
            if backoff_s == _FIRST_BACKOFF_S:  # once per outage
                _log.warning("cannot follow %s, trying on: %s", what, error)
        await asyncio.sleep(backoff_s)
        backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)
