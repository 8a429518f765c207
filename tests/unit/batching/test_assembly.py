"""Stacking and scattering are inverse, row by row, whatever the datatypes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.batching.assembly import scatter, stack
from serving.batching.job import Job, Plan
from serving.protocol.arrays import Array, to_array, to_tensor
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.messages import Tensor
from serving.protocol.packing import unpack_tensors


def job_of(*tensors: Tensor, outputs: tuple[str, ...]) -> Job:
    entries = tuple((t.name, t.datatype, t.shape, len(t.data)) for t in tensors)
    plan = Plan(entries, outputs, tensors[0].shape[0] if tensors[0].shape else 1, "lane")
    data = b"".join(t.data for t in tensors)
    return Job(plan, data, arrived=0.0, deadline=1e9, shadow=False, done=lambda _: None)


def answers(jobs: list[Job], outputs: dict[str, Array]) -> list[dict[str, Array]]:
    packed = scatter([job.plan for job in jobs], outputs, frozenset())
    return [{t.name: to_array(t) for t in unpack_tensors(b"".join(pieces))} for pieces in packed]


rows = st.integers(0, 4)


@given(st.lists(rows, min_size=1, max_size=6), st.sampled_from(["float32", "int64", "bool", "float16"]))
def test_an_echo_gives_every_request_its_own_rows_back(sizes: list[int], dtype: str) -> None:
    """scatter(stack(requests)) is the identity for two inputs of different width."""
    arrays = [
        (np.arange(n * 3).reshape(n, 3).astype(dtype) + np.asarray(i, dtype), np.full((n, 2, 2), i, "int32"))
        for i, n in enumerate(sizes)
    ]
    jobs = [job_of(to_tensor("a", a), to_tensor("b", b), outputs=("a", "b")) for a, b in arrays]

    for (a, b), answer in zip(arrays, answers(jobs, stack(jobs)), strict=True):
        assert np.array_equal(answer["a"], a)
        assert np.array_equal(answer["b"], b)


@given(st.lists(st.lists(st.binary(max_size=5), min_size=1, max_size=3), min_size=1, max_size=4))
def test_text_rows_survive_stacking_too(requests: list[list[bytes]]) -> None:
    """BYTES elements of any length come back to the request that sent them."""
    arrays = [np.array(elements, dtype=object) for elements in requests]
    jobs = [job_of(to_tensor("s", array), outputs=("s",)) for array in arrays]

    for array, answer in zip(arrays, answers(jobs, stack(jobs)), strict=True):
        assert answer["s"].tolist() == array.tolist()


def test_a_single_request_keeps_its_rank_even_without_a_batch_axis() -> None:
    """A rank-0 input and a rank-0 output pass unstacked."""
    jobs = [job_of(to_tensor("rate", np.array(16000, "int64")), outputs=("rate",))]

    (answer,) = answers(jobs, stack(jobs))

    assert answer["rate"].shape == ()
    assert answer["rate"] == 16000


def test_outputs_without_a_row_per_input_row_are_the_models_failure() -> None:
    """A model that sums over the batch cannot be batched; nobody gets somebody else's answer."""
    jobs = [job_of(to_tensor("x", np.ones((1, 2), "float32")), outputs=("sum",)) for _ in range(2)]

    with pytest.raises(ServingError, match="for a batch of 2 rows") as caught:
        scatter([job.plan for job in jobs], {"sum": np.ones((1, 2), "float32")}, frozenset())

    assert caught.value.kind is ErrorKind.MODEL_FAILED
