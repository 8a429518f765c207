"""Counts rows of a model's answers that are not numbers: a version that answers NaN fails, whatever its status code.

The check costs a few microseconds per run of a small model, and only float outputs are looked at. The answer goes out
as it is: whether NaN is wrong is for those to judge who compare versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from serving.backends.backend import Agreement, Array, Backend, RemoteBackend
from serving.backends.wrapper import BackendWrapper
from serving.telemetry.instruments import Counter


class FiniteOutputs(BackendWrapper):
    """A backend whose answers are looked at."""

    def __init__(self, backend: Backend, nonfinite_rows: Counter) -> None:
        super().__init__(backend)
        self._nonfinite_rows = nonfinite_rows

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run the model and count rows with NaN or infinity in any float output, each row once."""
        return self._counted(self._backend.infer(inputs, outputs))

    def _counted(self, answer: dict[str, Array]) -> dict[str, Array]:
        wrong = [array for array in answer.values() if array.dtype.kind == "f" and not np.isfinite(array).all()]
        if wrong:
            self._nonfinite_rows.add(count_nonfinite_rows(wrong))
        return answer


class FiniteRemoteOutputs(FiniteOutputs):
    """The same for a remote backend; see `RemoteBackend` for the contract."""

    def __init__(self, backend: RemoteBackend, nonfinite_rows: Counter) -> None:
        super().__init__(backend, nonfinite_rows)
        self._remote = backend

    @property
    def max_concurrency(self) -> int:
        """Calls that may be open at once."""
        return self._remote.max_concurrency

    async def start(self, example: Mapping[str, Array], agrees: Agreement) -> None:
        """Begin to watch the remote end."""
        await self._remote.start(example, agrees)

    async def infer_async(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float
    ) -> dict[str, Array]:
        """Run the model and count rows as `infer` does."""
        return self._counted(await self._remote.infer_async(inputs, outputs, timeout_s))

    def troubles(self) -> Mapping[str, str | None]:
        """Say which remote servers get no requests, and why."""
        return self._remote.troubles()

    async def stop(self) -> None:
        """End the watch."""
        await self._remote.stop()


def watch_outputs(backend: Backend, nonfinite_rows: Counter) -> Backend:
    """Wrap a backend, wherever its model runs."""
    if isinstance(backend, RemoteBackend):
        return FiniteRemoteOutputs(backend, nonfinite_rows)
    return FiniteOutputs(backend, nonfinite_rows)


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
