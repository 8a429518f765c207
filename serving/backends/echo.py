"""Answers each request with its own inputs: for tests and for measuring the gateway without a model.

Deterministic. The knobs that delay, fail or kill exist to test what surrounds a model; a version gets them by tags
`shepherd.echo.<knob>`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from serving.backends.backend import Array
from serving.protocol.errors import ErrorKind, ServingError, invalid
from serving.protocol.messages import Signature, TensorSpec

EXIT_CODE: Final = 70
"""The exit status of a process that a `crash_on` value ended (EX_SOFTWARE)."""


class EchoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to echo, and how to misbehave."""

    inputs: tuple[TensorSpec, ...] = (TensorSpec("x", "FP32", (-1, 4)),)
    """Every input is also an output of the same name."""
    delay_ms: float = 0.0
    """Time that every run takes, whatever the batch."""
    fail_on: float | None = None
    """A run with this value in any numeric input raises MODEL_FAILED."""
    crash_on: float | None = None
    """A run with this value in any numeric input ends the process at once, as a segmentation fault would."""
    hang_on: float | None = None
    """A run with this value in any numeric input takes `hang_ms`."""
    hang_ms: float = 60_000.0
    fail_to_load: bool = False
    """`load` raises."""


class EchoBackend:
    """A model whose answer is its input; see `Backend` for the contract."""

    def __init__(self, options: EchoOptions | None = None) -> None:
        self._options = options or EchoOptions()
        specs = self._options.inputs
        batchable = bool(specs) and all(spec.shape and spec.shape[0] < 0 for spec in specs)
        self._signature = Signature(specs, specs, "shepherd_echo", batchable)
        self._has_knobs = bool(self._options.delay_ms) or any(value is not None for value in self._magic_values())

    def load(self) -> None:
        """Do nothing, or fail if told to."""
        if self._options.fail_to_load:
            raise invalid("echo: told to fail at load by fail_to_load")

    @property
    def signature(self) -> Signature:
        """The configured inputs, which are the outputs too."""
        return self._signature

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the inputs themselves, after what the knobs say."""
        if self._has_knobs:
            self._inject_fault(inputs)
        return {name: inputs[name] for name in outputs} if outputs else dict(inputs)

    def describe(self) -> dict[str, Any]:
        """Say what is set."""
        return {"backend": "echo", "provider": "cpu", "delay_ms": self._options.delay_ms}

    def close(self) -> None:
        """Do nothing."""

    def _magic_values(self) -> tuple[float | None, float | None, float | None]:
        return self._options.fail_on, self._options.crash_on, self._options.hang_on

    def _inject_fault(self, inputs: Mapping[str, Array]) -> None:
        fail_on, crash_on, hang_on = self._magic_values()
        if crash_on is not None and _holds(inputs, crash_on):
            os._exit(EXIT_CODE)
        if self._options.delay_ms:
            time.sleep(self._options.delay_ms / 1000)
        if hang_on is not None and _holds(inputs, hang_on):
            time.sleep(self._options.hang_ms / 1000)
        if fail_on is not None and _holds(inputs, fail_on):
            raise ServingError(ErrorKind.MODEL_FAILED, f"echo: told to fail on {fail_on:g}")


def _holds(inputs: Mapping[str, Array], value: float) -> bool:
    return any(bool((array == value).any()) for array in inputs.values() if array.dtype.kind in "biuf")
