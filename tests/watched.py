"""A binary model's answers as the log has them, in sound and in failing health; a book and a profile for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from router.drift.building import build_profile, columns_of
from router.drift.profile import Profile
from router.monitor.book_settings import BookSettings
from router.monitor.counting import Arrived
from router.monitor.drift import WindowSettings
from router.performance.baseline import Metric, Task
from router.requestlog.record import Record, record_id
from serving.protocol.arrays import to_tensor
from serving.protocol.packing import pack_tensors

Floats = npt.NDArray[np.float64]
MODEL = "flights"
START = 1_700_000_000.0
SETTINGS = BookSettings(window=WindowSettings(slot_s=1.0, grace_s=0.0, rows=200), reference_rows=300)


def rows(seed: int, count: int, shift: float = 0.0) -> Floats:
    """Draw features [count, 3]; `shift` moves the first."""
    x = np.random.default_rng(seed).normal(size=(count, 3))
    x[:, 0] += shift
    return x


def scores(x: Floats) -> Floats:
    """Give the model's scores [count]."""
    return np.asarray(1 / (1 + np.exp(-4 * x[:, 0])))


def truth(x: Floats, wrong: float = 0.0, seed: int = 1) -> Floats:
    """Give labels [count] that agree with the scores but for the share `wrong`, beside a tenth that never agrees."""
    flipped = np.random.default_rng(seed).random(len(x)) < 0.1 + wrong
    return np.asarray((scores(x) >= 0.5) != flipped, dtype=np.float64)


def profile(count: int = 5000) -> Profile:
    """Make the reference of the model in sound health."""
    x = rows(0, count)
    columns = [*columns_of({"x": x}, "input"), *columns_of({"score": scores(x)}, "output")]
    return build_profile(columns, task=Task.BINARY, score="score", labels=truth(x), metrics=[Metric.ACCURACY])


@dataclass
class Log:
    """Writes records as one router would, ten a second."""

    version: int = 1
    incarnation: str = "router-1"
    written: int = 0
    at: float = START

    def records(self, x: Floats, *, variant: str = "stable") -> list[Record]:
        """Record one request for each row; the ids are `r<number>`."""
        return [self._record(row, variant) for row in x]

    def _record(self, row: Floats, variant: str) -> Record:
        self.written += 1
        self.at += 0.1
        inputs = pack_tensors([to_tensor("x", row[None].astype(np.float32))])
        outputs = pack_tensors([to_tensor("score", scores(row[None])[:, None].astype(np.float32))])
        return Record(
            schema=1,
            id=record_id(self.incarnation, self.written),
            kind="primary",
            at=self.at,
            model=MODEL,
            version=self.version,
            variant=variant,
            reason="weight",
            revision=1,
            protocol="http",
            key="",
            request_id=f"r{self.written}",
            outcome="ok",
            message="",
            duration_us=100,
            queue_us=0,
            batch_size=1,
            inputs=inputs,
            outputs=outputs,
        )


def ids(records: Sequence[Record]) -> list[str]:
    """Name the requests."""
    return [record.request_id for record in records]


def arrived(records: Sequence[Record], delay_s: float = 0.0) -> list[Arrived]:
    """Say that each record came to the log so long after its request."""
    return [Arrived(record, record.at + delay_s) for record in records]
