"""Which jobs run next: lanes of like shape, primaries first, nothing for nobody."""

from __future__ import annotations

import math
from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from serving.batching.job import Job, Plan
from serving.batching.window import Lanes


def job(lane: str = "a", *, rows: int = 1, arrived: float = 0.0, deadline: float = 1e9, shadow: bool = False) -> Job:
    plan = Plan((("x", "FP32", (rows, 4), rows * 16),), ("y",), rows, lane)
    return Job(plan, b"", arrived=arrived, deadline=deadline, shadow=shadow, done=lambda _: None)


def put(*jobs: Job) -> Lanes:
    lanes = Lanes()
    for each in jobs:
        lanes.put(each)
    return lanes


def test_what_waited_together_runs_together_up_to_the_row_limit() -> None:
    """A batch takes jobs in order of arrival until the next one would exceed the limit."""
    first, second, third = job(rows=2), job(rows=2), job(rows=1)

    batch = put(first, second, third).take(4, now=0.0)

    assert batch.jobs == [first, second]


def test_a_job_larger_than_the_limit_runs_alone_rather_than_never() -> None:
    """The limit bounds stacking, not what one client may ask for."""
    large = job(rows=100)

    assert put(large, job()).take(8, now=0.0).jobs == [large]


def test_shapes_are_never_mixed_and_the_longest_waiting_lane_goes_first() -> None:
    """A batch comes from one lane, the one whose head arrived first."""
    young, old, old_too = job("a", arrived=2.0), job("b", arrived=1.0), job("b", arrived=3.0)

    assert put(young, old, old_too).take(8, now=4.0).jobs == [old, old_too]


def test_shadows_run_only_when_no_primary_waits() -> None:
    """However long a shadow has waited, a primary goes before it."""
    shadow, primary = job(arrived=0.0, shadow=True), job(arrived=9.0)
    lanes = put(shadow, primary)

    assert lanes.take(8, now=9.0).jobs == [primary]
    assert lanes.take(8, now=9.0).jobs == [shadow]


def test_expired_jobs_are_refused_instead_of_run() -> None:
    """A job past its deadline is handed back and takes no place in the batch."""
    late, on_time = job(deadline=1.0), job(deadline=3.0)

    batch = put(late, on_time).take(8, now=2.0)

    assert (batch.jobs, batch.expired) == ([on_time], [late])


def test_cancelled_jobs_vanish() -> None:
    """A cancelled job is neither run nor refused: nobody waits for it."""
    gone = job()
    gone.cancelled = True

    batch = put(gone).take(8, now=0.0)

    assert (batch.jobs, batch.expired) == ([], [])


def test_draining_returns_every_job_that_still_matters() -> None:
    """At shutdown all but the cancelled are handed back, and nothing waits any more."""
    gone, primary, shadow = job(), job("b"), job(shadow=True)
    gone.cancelled = True
    lanes = put(gone, primary, shadow)

    assert set(lanes.drain()) == {primary, shadow}
    assert lanes.waiting == 0


jobs = st.builds(
    job,
    lane=st.sampled_from("abc"),
    rows=st.integers(1, 5),
    arrived=st.floats(0, 10),
    deadline=st.floats(0, 20),
    shadow=st.booleans(),
)


@given(st.lists(jobs, max_size=30), st.integers(1, 8))
def test_every_job_leaves_exactly_once(waiting: list[Job], max_rows: int) -> None:
    """Taking until nothing waits runs or refuses each job once, in batches of one lane within the limit."""
    lanes = put(*waiting)
    left: list[Job] = []

    while lanes.waiting:
        batch = lanes.take(max_rows, now=10.0)
        left += batch.jobs + batch.expired
        assert len({(each.plan.lane, each.shadow) for each in batch.jobs}) <= 1
        assert len(batch.jobs) <= 1 or sum(each.plan.rows for each in batch.jobs) <= max_rows
        assert all(each.deadline >= 10.0 for each in batch.jobs)

    assert sorted(map(id, left)) == sorted(map(id, waiting))


@given(st.lists(jobs.filter(lambda each: each.deadline >= 10.0), max_size=30), st.integers(1, 8))
def test_the_lane_whose_head_has_waited_longest_goes_next(waiting: list[Job], max_rows: int) -> None:
    """Whatever came between, and wherever the last batch left the lanes; primaries before shadows."""
    lanes = put(*waiting)
    left = list(waiting)

    while lanes.waiting:
        batch = lanes.take(max_rows, now=10.0)
        heads: dict[Hashable, Job] = {}
        for each in left:
            if each.shadow == all(every.shadow for every in left):
                heads.setdefault(each.plan.lane, each)
        assert batch.jobs[0].arrived == min(head.arrived for head in heads.values())
        assert batch.jobs[0] in heads.values()
        left = [each for each in left if each not in batch.jobs]


def test_finding_the_next_of_thousands_of_lanes_costs_little() -> None:
    """Comparisons as the logarithm of their number: a model that is never batched has a lane for each request."""
    compared = 0

    class Arrival(float):
        def __lt__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return super().__lt__(other)

    many = 4096
    lanes = put(*[job(str(number), arrived=Arrival(number)) for number in range(many)])
    order = [lanes.take(1, now=0.0).jobs[0].arrived for _ in range(many)]

    assert order == sorted(order)
    assert compared < 4 * many * math.log2(many)


def test_a_batch_is_full_when_primaries_fill_it() -> None:
    """It can gain nothing by waiting then; a batch of shadows may still have to let a primary go first."""
    assert not Lanes().is_full(1)
    assert not put(job()).is_full(2)
    assert put(job(), job()).is_full(2)
    assert not put(job(shadow=True), job(shadow=True)).is_full(2)
