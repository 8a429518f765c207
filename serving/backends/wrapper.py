"""A backend around another one: passes every call on, so that a subclass says only what it adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serving.backends.backend import Array, Backend
from serving.protocol.messages import Signature


class BackendWrapper:
    """See `Backend` for the contract."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def load(self) -> None:
        """Load."""
        self._backend.load()

    @property
    def signature(self) -> Signature:
        """The model's."""
        return self._backend.signature

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run the model."""
        return self._backend.infer(inputs, outputs)

    def describe(self) -> dict[str, Any]:
        """Describe the model."""
        return self._backend.describe()

    def close(self) -> None:
        """Close."""
        self._backend.close()
