"""The echo backend and its knobs."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from serving.backends.echo import EXIT_CODE, EchoBackend, EchoOptions
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import TensorSpec

ROWS = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}


def test_the_answer_is_the_input() -> None:
    """Outputs carry the names of the inputs."""
    backend = EchoBackend()
    backend.load()

    assert backend.infer(ROWS, ())["x"] is ROWS["x"]
    assert backend.signature.inputs == backend.signature.outputs
    assert backend.signature.batchable


def test_the_signature_is_what_the_options_say() -> None:
    """Any inputs can be echoed; a fixed first axis makes the model not batchable."""
    specs = (TensorSpec("text", "BYTES", (1,)), TensorSpec("n", "INT64", (-1, 3)))

    signature = EchoBackend(EchoOptions(inputs=specs)).signature

    assert signature.inputs == specs
    assert not signature.batchable


def test_a_run_with_the_failing_value_fails_and_others_do_not() -> None:
    """`fail_on` is looked for in all numeric inputs."""
    backend = EchoBackend(EchoOptions(fail_on=7))

    with pytest.raises(ServingError) as caught:
        backend.infer(ROWS, ())

    assert caught.value.kind is ErrorKind.MODEL_FAILED
    assert backend.infer({"x": ROWS["x"][:1]}, ())["x"].shape == (1, 4)


def test_a_run_with_the_crashing_value_ends_the_process() -> None:
    """`crash_on` leaves no time for clean-up, as a fault in native code would."""
    process = multiprocessing.get_context("spawn").Process(
        target=EchoBackend(EchoOptions(crash_on=7)).infer, args=(ROWS, ())
    )
    process.start()
    process.join()

    assert process.exitcode == EXIT_CODE


def test_fail_to_load_fails_at_load() -> None:
    """A version that never becomes ready."""
    with pytest.raises(ServingError, match="fail_to_load"):
        EchoBackend(EchoOptions(fail_to_load=True)).load()
