"""How a client of Redis is made: bounded in time, and without retries of its own.

A client that repeats a call would also repeat an EXEC or a script of which it does not know whether it took effect, and
would keep its caller waiting through pauses of its own. The caller knows what may be done twice, and when. Whether
redis-py retries by default depends on its release and on how a client is built: so every client is built here.
"""

from __future__ import annotations

import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.retry import Retry


def asyncio_client(url: str, *, timeout_s: float) -> redis.asyncio.Redis:
    """Make a client for an event loop. It connects with its first call, and returns bytes as they are stored.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        timeout_s: of connecting, and of one answer; past it a call raises a `RedisError`.
    """
    never = redis.asyncio.retry.Retry(NoBackoff(), 0)
    return redis.asyncio.Redis.from_url(url, retry=never, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)


def blocking_client(url: str, *, timeout_s: float) -> redis.Redis:
    """Make a client for a thread, otherwise like `asyncio_client`."""
    never = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(url, retry=never, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
