"""One gateway per Redis database: a key that names who uses it, renewed while that one runs.

Two gateways on one database would overwrite each other's version states and run each other's rollouts. The claim keeps
a second one from starting; it fences nothing off afterwards. It outlives its gateway by a few seconds, and one that
starts again on the same state directory takes its own claim over at once.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from router.adapters.redis.client import blocking_client

KEY: Final = "shepherd:gateway"
#: How long a claim outlives a gateway that was killed; many times the pause between renewals.
LIFETIME_S: Final = 30.0
_ANSWER_S: Final = 1.0
_RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class DatabaseTaken(Exception):
    """Another gateway uses the database; says which."""


class Claim:
    """A gateway's claim to a database. Calls block, and raise `redis.exceptions.RedisError` while Redis is away."""

    def __init__(self, url: str, holder: str, *, lifetime_s: float = LIFETIME_S) -> None:
        self._redis = blocking_client(url, timeout_s=_ANSWER_S)
        self._holder = holder
        self._lifetime_ms = round(1000 * lifetime_s)

    def take(self) -> None:
        """Take it or renew it.

        Raises:
            DatabaseTaken: it is another gateway's.
        """
        if self._redis.set(KEY, self._holder, nx=True, px=self._lifetime_ms):
            return
        found = self._redis.get(KEY)
        holder = found.decode(errors="replace") if isinstance(found, bytes) else ""
        if holder != self._holder:
            raise DatabaseTaken(holder or "unknown")
        self._redis.pexpire(KEY, self._lifetime_ms)

    def release(self) -> None:
        """Give it up, if it is ours, and let go of the connection."""
        try:
            self._redis.eval(_RELEASE, 1, KEY, self._holder)
        finally:
            self._redis.close()


def name_of(state_dir: Path) -> str:
    """Name the gateway of a state directory, for claims and for people."""
    return f"{socket.gethostname()}:{state_dir}"
