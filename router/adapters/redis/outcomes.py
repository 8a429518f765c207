"""Joins posted outcome values with the requests that they are about, on demand: what variants of an experiment led to.

Somebody who looks at an experiment waits for it; nothing else does. It reads the labels and the log from the beginning
of the experiment on, in pieces, decoded in a thread, and the log only where a model has outcomes at all.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.request_log import RedisRequestLog
from router.analysis.counts import Moments
from router.requestlog.record import PRIMARY, read_records


class RedisOutcomes:
    """Sums of outcomes by variant. Raises `StoreUnavailable`."""

    def __init__(self, url: str, *, prefix: str = "shepherd:") -> None:
        self._labels = RedisLabels(url, prefix=prefix)
        self._log = RedisRequestLog(url, prefix=prefix)

    async def close(self) -> None:
        """Give back the connections."""
        await asyncio.gather(self._labels.close(), self._log.close())

    async def since(self, model: str, at: float) -> Mapping[str, Moments]:
        """Sum up the outcomes of a model's requests that came after a time; of several for one request, the last."""
        beginning = f"{int(at * 1000)}-0"
        waiting = {
            entry.label.request_id: entry.label.outcome
            async for entry in self._labels.entries(beginning)
            if entry.model == model and entry.label.outcome is not None
        }
        values: defaultdict[str, list[float]] = defaultdict(list)
        if waiting:
            async for entry in self._log.entries(beginning):
                for request_id, variant in await asyncio.to_thread(_answered, entry.records, model, at):
                    if (value := waiting.pop(request_id, None)) is not None:
                        values[variant].append(value)
                if not waiting:
                    break
        return {variant: Moments.of(found) for variant, found in values.items()}


def _answered(frames: bytes, model: str, at: float) -> list[tuple[str, str]]:
    """Find who answered which request."""
    return [
        (record.request_id, record.variant)
        for record in read_records(frames).records
        if record.model == model and record.kind == PRIMARY and record.at >= at
    ]
