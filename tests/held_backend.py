"""A model whose runs last as long as a test wants: whoever waits for a moment within a run cannot miss it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from serving.backends.backend import Array
from serving.backends.echo import EchoBackend, EchoOptions

#: So slow that the batcher runs it in a thread, where it may wait, and not on the event loop.
_RUN_MS: Final = 5.0


class HeldBackend(EchoBackend):
    """Echoes; while it is held, no run ends."""

    def __init__(self) -> None:
        super().__init__(EchoOptions(delay_ms=_RUN_MS))
        self._may_end = threading.Event()
        self._may_end.set()

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Answer when nobody holds it."""
        answer = super().infer(inputs, outputs)
        self._may_end.wait()
        return answer

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it."""
        self._may_end.clear()
        try:
            yield
        finally:
            self._may_end.set()
