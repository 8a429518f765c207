"""What every runtime offers: load, signature, infer, describe, close. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from serving.protocol.messages import Signature

Array = npt.NDArray[np.generic]
Agreement = Callable[[Mapping[str, Array]], str | None]
"""Compare an answer with the expected one: None when they agree, else the difference in words."""


class Backend(Protocol):
    """One loaded version of a model in this process.

    `infer` blocks and may be called from two threads at a time, one for primaries and one for shadows. It raises
    `ServingError(INVALID)` when the inputs are at fault and `ServingError(MODEL_FAILED)` when the model is; any other
    exception counts as the model's.
    """

    def load(self) -> None:
        """Read the artifact and make `signature` true. Slow, called once."""

    @property
    def signature(self) -> Signature:
        """What the model takes and gives, as loaded."""

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run the model on arrays of the signature's dtypes; return the named outputs, or all when none is named."""

    def describe(self) -> dict[str, Any]:
        """Facts for operators: provider, threads, opset, bytes."""

    def close(self) -> None:
        """Give memory back; the backend is unusable afterwards."""


@runtime_checkable
class RemoteBackend(Backend, Protocol):
    """A backend whose model runs elsewhere: many calls wait at once and none computes in this process.

    `infer` serves checks; traffic goes through `infer_async`, one call for each request, never stacked: batching is the
    remote end's business.
    """

    @property
    def max_concurrency(self) -> int:
        """Calls of `infer_async` that may be open at once."""

    async def start(self, example: Mapping[str, Array], agrees: Agreement) -> None:
        """Begin to watch the remote end with an example, on the loop that `infer_async` is called on."""

    async def infer_async(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float
    ) -> dict[str, Array]:
        """Run the model within a time; raises as `infer` does, and `ServingError(UNAVAILABLE)` when nobody answers.

        Cancelling the caller cancels the call.
        """

    def troubles(self) -> Mapping[str, str | None]:
        """Say of each remote server, by address, why it gets no requests; None for one that does."""

    async def stop(self) -> None:
        """End the watch and close what belongs to the loop."""
