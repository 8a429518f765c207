"""A backend that is marked while its code runs, so that a crash is attributed to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serving.backends.backend import Array, Backend
from serving.backends.wrapper import BackendWrapper
from serving.deployment.hosting.crash_marks import Mark


class MarkedBackend(BackendWrapper):
    """A backend under a mark of its own."""

    def __init__(self, backend: Backend, mark: Mark) -> None:
        super().__init__(backend)
        self._mark = mark

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run the model under its mark."""
        self._mark.set()
        try:
            return self._backend.infer(inputs, outputs)
        finally:
            self._mark.clear()
