"""A database has one gateway: a second one is told who is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from router.adapters.redis.claim import KEY, Claim, DatabaseTaken
from router.node.external_redis import ExternalRedis


@pytest.fixture
def url(valkey_socket: Path) -> Iterator[str]:
    """A database that nobody has claimed."""
    address = f"unix://{valkey_socket}?db=7"
    redis = Redis.from_url(address)
    redis.delete(KEY)
    yield address
    redis.delete(KEY)
    redis.close()


def test_a_second_gateway_is_told_who_is_there(url: str) -> None:
    """Until the first one leaves."""
    first, second = Claim(url, "a:/state"), Claim(url, "b:/state")
    first.take()
    first.take()

    with pytest.raises(DatabaseTaken, match="a:/state"):
        second.take()
    first.release()
    second.take()
    second.release()


def test_a_gateway_that_starts_again_takes_its_own_claim_over(url: str) -> None:
    """Also when it was killed and could not give it up."""
    Claim(url, "a:/state").take()

    Claim(url, "a:/state").take()


def test_nobody_gives_up_what_is_anothers(url: str) -> None:
    """One that comes back after its claim ran out finds another gateway there."""
    first, second = Claim(url, "a:/state", lifetime_s=0.01), Claim(url, "b:/state")
    first.take()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            second.take()
            break
        except DatabaseTaken:
            continue
    first.release()

    with pytest.raises(DatabaseTaken, match="b:/state"):
        Claim(url, "c:/state").take()
    second.release()


def test_a_gateway_keeps_its_claim_however_long_it_starts_and_stops(url: str, tmp_path: Path) -> None:
    """Nothing supervises it then; it gives the claim up only when all else has ended."""
    redis = ExternalRedis(url, tmp_path, renew_s=0.02)
    redis.launch()
    for _ in range(3):
        _wait_for_a_renewal(url)

    with pytest.raises(DatabaseTaken, match=str(tmp_path)):
        Claim(url, "b:/state").take()
    redis.stop()
    Claim(url, "b:/state").take()


def _wait_for_a_renewal(url: str) -> None:
    """Return when the claim has longer to live than a moment ago."""
    with Redis.from_url(url) as redis:
        deadline, left_ms = time.monotonic() + 10, redis.pttl(KEY)
        while (now_ms := redis.pttl(KEY)) <= left_ms:
            assert time.monotonic() < deadline
            left_ms = now_ms
