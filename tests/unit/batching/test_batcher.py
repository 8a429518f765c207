"""The batching shell on a real loop: nobody's failure, cancellation or slowness touches a neighbour."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from serving.backends.backend import Array
from serving.backends.echo import EchoBackend, EchoOptions
from serving.batching.batcher import Batcher, BatchLimits
from serving.batching.job import Job, Plan, Result
from serving.protocol.arrays import to_array, to_tensor
from serving.protocol.errors import ErrorKind, ServingError
from serving.protocol.packing import unpack_tensors
from tests.held_backend import HeldBackend

FAIL = 666.0
Answer = Result | ServingError


class Asked:
    """A submitted job and the future of its answer."""

    def __init__(self, batcher: Batcher, value: float, *, deadline: float = float("inf")) -> None:
        tensor = to_tensor("x", np.full((1, 4), value, "float32"))
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        plan = Plan(((tensor.name, tensor.datatype, tensor.shape, len(tensor.data)),), ("x",), 1, "lane")
        self.job = Job(plan, tensor.data, arrived=0.0, deadline=deadline, shadow=False, done=self.future.set_result)
        batcher.submit(self.job)

    async def value(self) -> float:
        answer = await self.future
        assert isinstance(answer, Result), answer
        (tensor,) = unpack_tensors(b"".join(answer.packed))
        return float(to_array(tensor).ravel()[0])

    async def error(self) -> ServingError:
        answer = await self.future
        assert isinstance(answer, ServingError)
        return answer


SLOW = EchoOptions(delay_ms=20, fail_on=FAIL)
QUICK = EchoOptions(fail_on=FAIL)
both = pytest.mark.parametrize(
    ("options", "expected_run_s"), [(QUICK, 0.0), (SLOW, 0.02)], ids=["on the loop", "in the thread"]
)


@both
@pytest.mark.asyncio
async def test_requests_of_one_turn_share_a_run_and_get_their_own_rows(
    options: EchoOptions, expected_run_s: float
) -> None:
    """What arrives together runs together; each answer holds its request's rows."""
    batcher = Batcher(EchoBackend(options), BatchLimits(), expected_run_s=expected_run_s)

    asked = [Asked(batcher, float(value)) for value in range(5)]

    assert [await each.value() for each in asked] == [0.0, 1.0, 2.0, 3.0, 4.0]
    first = await asked[0].future
    assert isinstance(first, Result)
    assert first.batch_size == 5
    batcher.close()


@both
@pytest.mark.asyncio
async def test_a_failing_request_fails_alone(options: EchoOptions, expected_run_s: float) -> None:
    """A batch that fails is taken apart; only the member at fault gets an error."""
    batcher = Batcher(EchoBackend(options), BatchLimits(), expected_run_s=expected_run_s)

    before, bad, after = Asked(batcher, 1.0), Asked(batcher, FAIL), Asked(batcher, 2.0)

    assert (await bad.error()).kind is ErrorKind.MODEL_FAILED
    assert (await before.value(), await after.value()) == (1.0, 2.0)
    assert await Asked(batcher, 3.0).value() == 3.0
    batcher.close()


@both
@pytest.mark.asyncio
async def test_a_cancelled_request_does_not_delay_its_batch_mates(options: EchoOptions, expected_run_s: float) -> None:
    """The others are answered, the cancelled one never is."""
    batcher = Batcher(EchoBackend(options), BatchLimits(), expected_run_s=expected_run_s)
    kept, gone, kept_too = Asked(batcher, 1.0), Asked(batcher, 2.0), Asked(batcher, 3.0)

    gone.job.cancelled = True

    assert (await kept.value(), await kept_too.value()) == (1.0, 3.0)
    assert not gone.future.done()
    batcher.close()


@pytest.mark.asyncio
async def test_a_request_past_its_deadline_is_refused_and_not_run() -> None:
    """Nobody waits for it, so the model does not work for it."""
    batcher = Batcher(EchoBackend(), BatchLimits())

    assert (await Asked(batcher, 1.0, deadline=-1.0).error()).kind is ErrorKind.DEADLINE
    batcher.close()


@pytest.mark.asyncio
async def test_a_slow_model_leaves_the_loop_free_to_collect_the_next_batch() -> None:
    """What arrives during a run becomes one batch after it."""
    backend = HeldBackend()
    batcher = Batcher(backend, BatchLimits(), expected_run_s=0.02)
    with backend.held():
        first = Asked(batcher, 0.0)
        while batcher.idle or batcher.waiting:
            await asyncio.sleep(0)

        later = [Asked(batcher, float(value)) for value in range(1, 4)]

    assert await first.value() == 0.0
    answers = [await each.future for each in later]
    assert [answer.batch_size for answer in answers if isinstance(answer, Result)] == [3, 3, 3]
    batcher.close()


@pytest.mark.asyncio
async def test_more_than_may_wait_is_refused_as_overload_at_once() -> None:
    """The queue is bounded; the excess is told to come back later."""
    batcher = Batcher(EchoBackend(SLOW), BatchLimits(max_waiting=2), expected_run_s=0.02)

    asked = [Asked(batcher, float(value)) for value in range(3)]

    assert (await asked[2].error()).kind is ErrorKind.OVERLOADED
    assert [await each.value() for each in asked[:2]] == [0.0, 1.0]
    batcher.close()


@pytest.mark.asyncio
async def test_closing_refuses_what_waits_and_lets_the_run_in_progress_answer() -> None:
    """Refused as unavailable, so that a router tries another replica."""
    backend = HeldBackend()
    batcher = Batcher(backend, BatchLimits(max_rows=1), expected_run_s=0.02)
    with backend.held():
        running, following, waiting = (Asked(batcher, float(value)) for value in (1, 2, 4))
        while batcher.waiting > 1:
            await asyncio.sleep(0)

        batcher.close()

    assert (await waiting.error()).kind is ErrorKind.UNAVAILABLE
    assert (await running.value(), await following.value()) == (1.0, 2.0)
    assert (await Asked(batcher, 3.0).error()).kind is ErrorKind.UNAVAILABLE


class Counting(EchoBackend):
    """Lets go of whoever waits when its second run has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0
        self.twice = threading.Event()

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        self.runs += 1
        if self.runs == 2:
            self.twice.set()
        return super().infer(inputs, outputs)


class Held(EchoBackend):
    """Runs when it is let go, and notes what."""

    def __init__(self, options: EchoOptions = QUICK) -> None:
        super().__init__(options)
        self.ran: list[float] = []
        self.let_go = threading.Event()

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        assert self.let_go.wait(10)
        self.ran.append(float(inputs["x"].ravel()[0]))
        return super().infer(inputs, outputs)


@pytest.mark.asyncio
async def test_the_model_goes_from_one_full_batch_to_the_next_without_the_loop() -> None:
    """Nothing can be gained by waiting for it, and the loop may be busy with a large request."""
    backend = Counting()
    batcher = Batcher(backend, BatchLimits(max_rows=1), expected_run_s=1.0)
    asked = [Asked(batcher, float(value)) for value in range(2)]
    while batcher.waiting:
        await asyncio.sleep(0)

    assert backend.twice.wait(10)  # on the loop's thread: it can do nothing meanwhile

    assert [await each.value() for each in asked] == [0.0, 1.0]
    batcher.close()


@pytest.mark.asyncio
async def test_a_request_that_is_given_up_behind_a_run_is_not_run() -> None:
    """Also when it has been handed over already."""
    backend = Held()
    batcher = Batcher(backend, BatchLimits(max_rows=1), expected_run_s=1.0)
    first, given_up = Asked(batcher, 1.0), Asked(batcher, 2.0)
    while batcher.waiting:
        await asyncio.sleep(0)

    batcher.cancel(given_up.job)
    backend.let_go.set()

    assert await first.value() == 1.0
    while not batcher.idle:
        await asyncio.sleep(0)
    assert backend.ran == [1.0]
    batcher.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(("row_s", "kept"), [(3600.0, True), (1e-9, False)])
async def test_batches_stay_large_where_one_row_takes_as_long(row_s: float, *, kept: bool) -> None:
    """What warming up has shown of one row decides, when runs are over the objective."""
    batcher = Batcher(EchoBackend(), BatchLimits(max_rows=16, objective_s=0.0), expected_run_s=row_s)

    asked = [Asked(batcher, float(value)) for value in range(160)]
    for each in asked:
        await each.value()

    assert (batcher.stats()["batch_limit"] == 16) is kept
    batcher.close()


@pytest.mark.asyncio
async def test_one_slow_run_of_one_row_does_not_free_batches_of_their_objective() -> None:
    """The first run after a pause may be slow; batches that are slower than one row are still held to the objective."""
    backend = Held(EchoOptions(delay_ms=20))
    batcher = Batcher(backend, BatchLimits(max_rows=16, objective_s=0.01), expected_run_s=0.004)
    first = Asked(batcher, 0.0)
    asyncio.get_running_loop().call_later(0.2, backend.let_go.set)
    await first.value()
    before = batcher.stats()["batch_limit"]

    for each in [Asked(batcher, float(value)) for value in range(16)]:
        await each.value()

    assert batcher.stats()["batch_limit"] < before
    batcher.close()
