"""What every runtime offers: load, signature, infer, warm up, close. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.protocol.messages import Signature

Array = npt.NDArray[np.generic]


class Backend(Protocol):
    """One loaded version of a model in this process.

    `infer` blocks and may be called from one thread at a time. It raises `ServingError(INVALID)` when the inputs are at
    fault and `ServingError(MODEL_FAILED)` when the model is; any other exception counts as the model's.
    """

    def load(self) -> None:
        """Read the artifact and make `signature` true. Slow, called once."""

    @property
    def signature(self) -> Signature:
        """What the model takes and gives, as loaded."""

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run the model on arrays of the signature's dtypes; return the named outputs, all of them when none is named."""

    def warm_up(self, example: Mapping[str, Array] | None, batch_sizes: Sequence[int]) -> None:
        """Run each batch size once, so that no request pays for lazy set-up."""

    def describe(self) -> dict[str, Any]:
        """Facts for operators: provider, threads, opset, bytes."""

    def close(self) -> None:
        """Give memory back; the backend is unusable afterwards."""
