"""Counts rows of a model's answers that are not numbers: a version that answers NaN fails, whatever its status code.

The check costs a few microseconds per run of a small model, and only float outputs are looked at. The answer goes out
as it is: whether NaN is wrong is for those to judge who compare versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.backends.backend import Array, Backend
from serving.protocol.messages import Signature
from serving.telemetry.instruments import Counter


class FiniteOutputs:
    """A backend whose answers are looked at; see `Backend` for the contract."""

    def __init__(self, backend: Backend, nonfinite_rows: Counter) -> None:
        self._backend = backend
        self._nonfinite_rows = nonfinite_rows

    def load(self) -> None:
        """Load."""
        self._backend.load()

    @property
    def signature(self) -> Signature:
        """The model's."""
        return self._backend.signature

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run the model and count rows with NaN or infinity in any float output, each row once."""
        answer = self._backend.infer(inputs, outputs)
        wrong = [array for array in answer.values() if array.dtype.kind == "f" and not np.isfinite(array).all()]
        if wrong:
            self._nonfinite_rows.add(count_nonfinite_rows(wrong))
        return answer

    def warm_up(self, example: Mapping[str, Array] | None, batch_sizes: Sequence[int]) -> None:
        """Warm up."""
        self._backend.warm_up(example, batch_sizes)

    def describe(self) -> dict[str, Any]:
        """Describe the model."""
        return self._backend.describe()

    def close(self) -> None:
        """Close."""
        self._backend.close()


def count_nonfinite_rows(arrays: Sequence[Array]) -> int:
    """Count positions on the first axis where any array is not finite; an array of another length is one row."""
    rows = max((array.shape[0] for array in arrays if array.ndim), default=1)
    wrong = np.zeros(rows, bool)
    for array in arrays:
        if array.ndim and array.shape[0] == rows:
            wrong |= ~np.isfinite(array.reshape(rows, -1)).all(axis=1)
        else:
            wrong[:1] = True
    return int(wrong.sum())
