"""Keeps a guest that is unwell soon after each load from being loaded again and again for nobody."""

from __future__ import annotations

from serving.deployment.start_backoff import MAX_PAUSE_S, pause_s


class Relapses:
    """Failed health checks of one guest in a row. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.rests_until = 0.0
        """Until then it is loaded for a request only."""
        self._in_a_row = 0

    def count(self, now: float, loaded_at: float) -> None:
        """Count a failed check: the guest may come back at once the first time, then later each time.

        After a life that was longer than any pause, it is the first again.
        """
        if now - loaded_at > MAX_PAUSE_S:
            self._in_a_row = 0
        self.rests_until = now + pause_s(self._in_a_row)
        self._in_a_row += 1
