"""Counters in processes of their own, to be stopped and killed by tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.context import ForkServerProcess

from router.adapters.redis.counting import RedisCounting
from router.watch.counter import Counter
from tests.forking import processes_of
from tests.watched import SETTINGS

_PROCESSES = processes_of(__name__)
#: Soon: a counter that is only slow is taken for dead, too, and two count the same.
_STALE_MS = 300


@contextmanager
def running_counters(number: int, url: str, prefix: str) -> Iterator[list[ForkServerProcess]]:
    """Run counters, named by their places; they do not outlive the block."""
    with ExitStack() as stack:
        counters = []
        for name in range(number):
            process = _PROCESSES.Process(target=_count, args=(str(name), url, prefix), daemon=True)
            process.start()
            stack.callback(_end, process)
            counters.append(process)
        yield counters


def _end(process: ForkServerProcess) -> None:
    process.kill()
    process.join()
    process.close()


def _count(name: str, url: str, prefix: str) -> None:
    asyncio.run(_run(name, url, prefix))


async def _run(name: str, url: str, prefix: str) -> None:
    source = RedisCounting(url, consumer=name, label_ttl_s=86_400.0, stale_ms=_STALE_MS, prefix=prefix)
    await Counter(source, SETTINGS.window).run()
