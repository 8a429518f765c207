"""Before a version is ready every batch size has run once, and batching that does not pay is off."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from serving.backends.backend import Array
from serving.batching.batcher import BatchLimits
from serving.deployment.warm_up import warm_up
from serving.protocol.messages import Signature, TensorSpec

ROW = {"x": np.ones((1, 4), np.float32)}


class Timed:
    """A backend whose run takes a time for the call and a time for each row; remembers the sizes that it ran."""

    def __init__(self, call_s: float = 0.0, row_s: float = 0.0, *, batchable: bool = True) -> None:
        spec = TensorSpec("x", "FP32", (-1 if batchable else 1, 4))
        self.signature = Signature((spec,), (spec,), "timed", batchable)
        self.sizes: list[int] = []
        self._call_s, self._row_s = call_s, row_s

    def load(self) -> None: ...

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        rows = inputs["x"].shape[0]
        self.sizes.append(rows)
        time.sleep(self._call_s + self._row_s * rows)
        return dict(inputs)

    def describe(self) -> dict[str, Any]:
        return {}

    def close(self) -> None: ...


def test_each_batch_size_up_to_the_limit_is_run_before_the_first_request() -> None:
    """A GPU plans memory and kernels at the first run of a shape: no request shall pay for that."""
    backend = Timed(call_s=0.002)

    warmth = warm_up(backend, ROW, BatchLimits(max_rows=64))

    assert set(backend.sizes) == {1, 2, 4, 8, 16, 32, 64}
    assert warmth.limits.max_rows == 64
    assert warmth.batching == "up to 64 rows"


def test_batching_that_does_not_pay_is_off_and_says_so() -> None:
    """A run that takes eight times as long for eight rows only makes seven of them wait."""
    warmth = warm_up(Timed(row_s=0.003), ROW, BatchLimits(max_rows=64))

    assert warmth.limits.max_rows == 1
    assert warmth.batching.startswith("off: 8 rows take")
    assert warmth.run_s >= 0.003


@pytest.mark.parametrize(
    ("backend", "limits", "because", "words"),
    [
        (Timed(), BatchLimits(max_rows=1), None, "off: tag shepherd.max_batch is 1"),
        (Timed(batchable=False), BatchLimits(), None, "off: the model has an axis of fixed size in front, or none"),
        (Timed(), BatchLimits(), "rows mix", "off: rows mix"),
    ],
    ids=["by-tag", "by-shape", "by-the-gate"],
)
def test_a_version_that_must_not_be_batched_is_run_as_it_is(
    backend: Timed, limits: BatchLimits, because: str | None, words: str
) -> None:
    """No size but its own is tried."""
    warmth = warm_up(backend, ROW, limits, unbatched_because=because)

    assert set(backend.sizes) == {1}
    assert (warmth.limits.max_rows, warmth.batching) == (1, words)
