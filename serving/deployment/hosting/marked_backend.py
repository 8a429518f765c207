"""A backend that is marked while its code runs, so that a crash can be laid at its door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serving.backends.backend import Array, Backend
from serving.deployment.hosting.crash_marks import Mark
from serving.protocol.messages import Signature


class MarkedBackend:
    """See `Backend` for the contract."""

    def __init__(self, backend: Backend, mark: Mark) -> None:
        self._backend = backend
        self._mark = mark

    def load(self) -> None:
        """Load."""
        self._backend.load()

    @property
    def signature(self) -> Signature:
        """The model's."""
        return self._backend.signature

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run the model under its mark."""
        self._mark.set()
        try:
            return self._backend.infer(inputs, outputs)
        finally:
            self._mark.clear()

    def describe(self) -> dict[str, Any]:
        """Describe the model."""
        return self._backend.describe()

    def close(self) -> None:
        """Close."""
        self._backend.close()
