"""Requests at a fixed rate, some of them with a value that bad versions cannot bear: who answered, when, and how."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import httpx

#: Value on which the bad versions go wrong; the good ones do not mind.
BAD: Final = -13.0
#: Requests per second.
RATE: Final = 100
#: One in so many has the bad value.
BAD_EVERY: Final = 5


class Seen(NamedTuple):
    """One answer, or none in time."""

    at: float
    """Monotonic seconds."""
    variant: str
    """Empty when there was no answer."""
    is_fine: bool


def body(value: float, width: int = 4) -> dict[str, Any]:
    """Make a V2 request for one row of `x`."""
    data = [value] + [1.0] * (width - 1)
    return {"inputs": [{"name": "x", "shape": [1, width], "datatype": "FP32", "data": data}]}


class Steady:
    """Clients in threads, from `run` to `stop`."""

    def __init__(self, url: str, *, width: int, timeout_s: float, bad: float) -> None:
        self._url = url
        self._bodies = (body(1.0, width), body(bad, width))
        self._timeout_s = timeout_s
        self._stopped = False
        self.seen: list[Seen] = []

    def run(self) -> None:
        """Send until stopped, whether answers come or not."""
        client = httpx.Client(timeout=self._timeout_s, limits=httpx.Limits(max_connections=100))
        with client, ThreadPoolExecutor(40) as pool:
            due = time.monotonic()
            for number in itertools.count():
                if self._stopped:
                    break
                pool.submit(self._ask, client, self._bodies[number % BAD_EVERY == 0])
                due += 1 / RATE
                time.sleep(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True

    def recovery_s(self) -> float:
        """Seconds from the first bad answer, or wait in vain, to the canary's last answer, or the last wait in vain."""
        first_bad = min(seen.at for seen in self.seen if not seen.is_fine)
        return max(seen.at for seen in self.seen if seen.variant == "canary" or not seen.is_fine) - first_bad

    def _ask(self, client: httpx.Client, request: dict[str, Any]) -> None:
        try:
            answer = client.post(self._url, json=request)
        except httpx.TimeoutException:
            self.seen.append(Seen(time.monotonic(), "", is_fine=False))
            return
        is_fine = answer.status_code == 200 and "NaN" not in answer.text and "null" not in answer.text
        self.seen.append(Seen(time.monotonic(), answer.headers.get("x-shepherd-variant", ""), is_fine))


@contextmanager
def steady(url: str, *, width: int = 4, timeout_s: float = 10.0, bad: float = BAD) -> Iterator[Steady]:
    """Send steadily."""
    load = Steady(url, width=width, timeout_s=timeout_s, bad=bad)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(load.run)
        try:
            yield load
        finally:
            load.stop()
            running.result()
