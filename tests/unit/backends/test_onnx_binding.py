"""A run by IO binding answers as a plain run does; the CPU provider knows IO binding too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.backends.backend import Array
from serving.backends.onnx_binding import BoundRunner, Memory, page_locked, pageable
from tests import models

SESSIONS = {
    name: onnxruntime.InferenceSession(build())
    for name, build in {
        "mlp": models.mlp,
        "two_inputs": models.two_inputs,
        "scalar_input": models.scalar_input,
        "identity": models.identity,
        "fixed_batch": models.fixed_batch,
    }.items()
}
RUNNERS = {name: BoundRunner(session) for name, session in SESSIONS.items()}


@given(st.sampled_from(sorted(SESSIONS)), st.integers(1, 300), st.integers(0, 2**32 - 1), st.data())
def test_an_answer_is_that_of_a_plain_run(model: str, rows: int, seed: int, data: st.DataObject) -> None:
    """Whatever ran before in the same buffers: larger batches, smaller ones, all outputs or some."""
    session = SESSIONS[model]
    random = np.random.default_rng(seed)
    inputs = {
        value.name: random.random([rows if not isinstance(size, int) else size for size in value.shape], np.float32)
        for value in session.get_inputs()
    }
    every = [value.name for value in session.get_outputs()]
    names = data.draw(st.lists(st.sampled_from(every), min_size=1, unique=True))

    bound, plain = RUNNERS[model].run(names, inputs), session.run(names, inputs)

    assert len(bound) == len(plain)
    for one, other in zip(bound, plain, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_an_answer_stays_what_it_was_when_the_buffers_are_used_again() -> None:
    """It is on its way to a client while the next batch runs."""
    runner = RUNNERS["identity"]
    (first,) = runner.run(["y"], {"x": np.array([1, 2, 3], np.float32)})
    runner.run(["y"], {"x": np.array([7, 8, 9], np.float32)})

    assert first.tolist() == [1, 2, 3]


def test_buffers_are_made_once_and_grow_with_the_largest_batch() -> None:
    """Page-locking memory takes longer than most runs."""
    made: list[int] = []

    def allocate(size: int) -> Memory:
        made.append(size)
        return pageable(size)

    runner = BoundRunner(SESSIONS["identity"], allocate=allocate)
    for rows in (1, 2, 1000, 1, 2000, 1500):
        runner.run(["y"], {"x": np.zeros(rows, np.float32)})

    assert made == [4096, 8192]


def test_runs_of_two_threads_do_not_meet() -> None:
    """A shadow's run goes on beside a primary's."""
    runner = BoundRunner(SESSIONS["identity"])

    def run(value: int) -> set[float]:
        return {float(each) for _ in range(300) for each in runner.run(["y"], {"x": np.full(50, value, np.float32)})[0]}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [{0.0}, {1.0}, {2.0}, {3.0}]


def test_inputs_that_do_not_fit_are_refused_and_leave_nothing_behind() -> None:
    """The next run is a right one again."""
    runner = BoundRunner(SESSIONS["two_inputs"])
    row = np.ones((1, 2), np.float32)
    wrongs: list[dict[str, Array]] = [{"a": row}, {"a": row, "b": row.astype(np.float64)}, {"a": row, "b": row[0]}]
    for wrong in wrongs:
        with pytest.raises(Exception, match=r".+"):
            runner.run(["sum"], wrong)

    assert runner.run(["sum"], {"a": row, "b": row})[0].tolist() == [[2, 2]]


def test_without_a_cuda_runtime_memory_is_ordinary() -> None:
    """A run from it is slower on a GPU, and right everywhere."""
    assert page_locked()(100).nbytes == 100
