"""A remote backend's calls wait beside each other, and their answers are those of any other backend."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from serving.backends.backend import Agreement, Array
from serving.backends.echo import EchoBackend, EchoOptions
from serving.batching.batcher import BatchLimits
from serving.batching.concurrent import ConcurrentRunner
from serving.batching.job import Job, Plan, Result
from serving.protocol.arrays import to_tensor
from serving.protocol.errors import ServingError
from serving.protocol.messages import TensorSpec
from serving.protocol.packing import unpack_tensors


class RemoteEcho(EchoBackend):
    """Echoes as if from elsewhere."""

    max_concurrency = 2

    async def start(self, example: Mapping[str, Array], agrees: Agreement) -> None: ...

    async def infer_async(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float
    ) -> dict[str, Array]:
        return self.infer(inputs, outputs)

    def troubles(self) -> Mapping[str, str | None]:
        return {}

    async def stop(self) -> None: ...


@pytest.mark.asyncio
@pytest.mark.parametrize("datatype", ["BF16", "UINT16", "FP16", "INT64"])
async def test_an_answer_has_the_datatype_that_the_model_declares(datatype: str) -> None:
    """BF16 too, which as an array cannot be told from UINT16."""
    runner = ConcurrentRunner(RemoteEcho(EchoOptions((TensorSpec("x", datatype, (-1, 4)),))), BatchLimits())
    asked = to_tensor("x", np.ones((1, 4), np.uint16 if datatype in {"BF16", "UINT16"} else None), datatype)
    answer: asyncio.Future[Result | ServingError] = asyncio.get_running_loop().create_future()

    plan = Plan((("x", datatype, (1, 4), len(asked.data)),), ("x",), 1, "lane")
    runner.submit(Job(plan, asked.data, arrived=0.0, deadline=float("inf"), shadow=False, done=answer.set_result))
    outcome = await answer

    assert isinstance(outcome, Result), outcome
    (told,) = unpack_tensors(b"".join(outcome.packed))
    assert (told.datatype, bytes(told.data)) == (datatype, bytes(asked.data))
    runner.close()
