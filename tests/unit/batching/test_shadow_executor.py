"""Shadow work beside primary work: who waits for whom, and which thread runs it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from serving.backends.backend import Array
from serving.backends.echo import EchoBackend
from serving.batching.batcher import BatchLimits
from serving.batching.job import Job, Plan, Result
from serving.batching.shadow_executor import PRIMARIES_LAST_S, ShadowsApart
from serving.protocol.arrays import to_tensor
from serving.protocol.errors import ServingError

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="this system has no idle threads")

HANG = 13.0


class Observed(EchoBackend):
    """Notes who runs what; a run with the value `HANG` lasts until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[tuple[float, bool]] = []
        """Of each run its first value, and whether its thread yields."""
        self.let_go = threading.Event()

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        value = float(inputs["x"].ravel()[0])
        if value == HANG:
            assert self.let_go.wait(10)
        self.ran.append((value, os.sched_getscheduler(0) == os.SCHED_IDLE))
        return super().infer(inputs, outputs)


def ask(runner: ShadowsApart, value: float, *, shadow: bool, at: float = 0.0) -> asyncio.Future[Result | ServingError]:
    """Submit one row that arrives at a time."""
    tensor = to_tensor("x", np.full((1, 4), value, "float32"))
    future: asyncio.Future[Result | ServingError] = asyncio.get_running_loop().create_future()
    plan = Plan(((tensor.name, tensor.datatype, tensor.shape, len(tensor.data)),), ("x",), 1, "lane")
    job = Job(plan, tensor.data, arrived=at, deadline=float("inf"), shadow=shadow, done=future.set_result)
    runner.submit(job)
    return future


@pytest.mark.asyncio
async def test_a_version_that_is_only_shadowed_works_in_a_thread_that_yields() -> None:
    """However quick its model is: the loop's thread is an ordinary one."""
    backend = Observed()
    runner = ShadowsApart(backend, BatchLimits())

    await ask(runner, 1.0, shadow=True)

    assert backend.ran == [(1.0, True)]
    assert os.sched_getscheduler(0) != os.SCHED_IDLE
    runner.close()


@pytest.mark.asyncio
async def test_a_primary_does_not_wait_for_a_shadow_that_hangs() -> None:
    """The first client of a version that has only been shadowed is answered while a shadow run is still on."""
    backend = Observed()
    runner = ShadowsApart(backend, BatchLimits())
    shadow = ask(runner, HANG, shadow=True)
    while runner.waiting:
        await asyncio.sleep(0)

    await ask(runner, 1.0, shadow=False)

    assert backend.ran == [(1.0, False)]
    assert not runner.idle
    backend.let_go.set()
    await shadow
    assert runner.idle
    runner.close()


@pytest.mark.asyncio
async def test_a_version_that_answers_clients_runs_shadows_behind_them_in_the_ordinary_way() -> None:
    """And apart again once clients have been away for long enough."""
    backend = Observed()
    runner = ShadowsApart(backend, BatchLimits())

    behind = ask(runner, 1.0, shadow=False), ask(runner, 2.0, shadow=True, at=PRIMARIES_LAST_S)
    await asyncio.gather(*behind)
    await ask(runner, 3.0, shadow=True, at=PRIMARIES_LAST_S + 1)

    assert backend.ran == [(1.0, False), (2.0, False), (3.0, True)]
    runner.close()


@pytest.mark.asyncio
async def test_load_counts_both_kinds_of_work() -> None:
    """What waits and what runs adds up, whichever thread it is for."""
    backend = Observed()
    runner = ShadowsApart(backend, BatchLimits(max_rows=1), expected_run_s=1.0)

    asked = [ask(runner, HANG, shadow=shadow, at=at) for shadow in (True, False) for at in (0.0, 1.0)]

    assert (runner.waiting, runner.stats()["queued"], runner.stats()["in_flight"]) == (4, 4.0, 4.0)
    backend.let_go.set()
    await asyncio.gather(*asked)
    assert runner.stats()["in_flight"] == 0.0
    runner.close()
