"""A Redis that the gateway was told to use: claimed where the embedded one is started, and otherwise left alone."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from router.adapters.redis.claim import LIFETIME_S, Claim, DatabaseTaken, name_of
from serving.telemetry.failure_log import FailureLog

REDIS_ADVICE: Final = "Check that it runs and that --redis-url is right; without it, an embedded one is started"
_RENEW_S: Final = 5.0
_log = logging.getLogger(__name__)


class ClaimRefused(Exception):
    """The database cannot be used; says why and what to do."""


class ExternalRedis:
    """Stands where `EmbeddedValkey` would. Traffic goes on without its claim.

    A thread renews it from launch to stop: starting and draining may each take longer than it lasts.
    """

    def __init__(self, url: str, state_dir: Path, *, renew_s: float = _RENEW_S, lifetime_s: float = LIFETIME_S) -> None:
        self.url = url
        self._claim = Claim(url, name_of(state_dir), lifetime_s=lifetime_s)
        self._renew_s = renew_s
        self._stopping = threading.Event()
        self._renewer = threading.Thread(target=self._keep_renewing, name="redis-claim", daemon=True)

    def launch(self) -> None:
        """Make sure, before anything is started, that no other gateway uses the database.

        Raises:
            ClaimRefused: one does, or Redis does not answer.
        """
        try:
            self._claim.take()
        except DatabaseTaken as error:
            raise ClaimRefused(
                f"redis_url: the gateway {error} uses this database, or did until moments ago; give each gateway a "
                f"database of its own (redis://HOST/1), or stop the other one and wait {LIFETIME_S:g} s"
            ) from None
        except RedisError as error:
            raise ClaimRefused(f"{error}. {REDIS_ADVICE}") from None
        self._renewer.start()

    def wait_ready(self) -> None:
        """Return at once: what could be claimed answers."""

    def tend(self) -> None:
        """Do nothing: a thread does."""

    def stop(self) -> None:
        """Give the claim up."""
        self._stopping.set()
        if self._renewer.is_alive():
            self._renewer.join()  # or it would take the claim again
        with suppress(RedisError):  # it runs out by itself
            self._claim.release()

    def _keep_renewing(self) -> None:
        renewing = FailureLog(_log, "Renewing the claim to the Redis database")
        while not self._stopping.wait(self._renew_s):
            with renewing.guard():
                self._claim.take()
