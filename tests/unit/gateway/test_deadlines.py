"""The wheel gives every item back once its deadline has passed, never before, never twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.gateway.dispatch.deadlines import SLOT_S, DeadlineWheel


class Item:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.bucket = 0


@given(
    st.lists(st.floats(0, 100), max_size=20),
    st.lists(st.floats(0, 5), max_size=40),
    st.sets(st.integers(0, 19)),
)
def test_items_expire_once_after_their_deadline(deadlines: list[float], steps: list[float], dropped: set[int]) -> None:
    """Sweeping at any times gives exactly the undiscarded items whose deadline is past, at most two slots late."""
    wheel: DeadlineWheel[Item] = DeadlineWheel(0.0)
    items = [Item(deadline) for deadline in deadlines]
    for item in items:
        wheel.add(item, item.deadline)
    for index in dropped:
        if index < len(items):
            wheel.discard(items[index])
    kept = {id(item) for index, item in enumerate(items) if index not in dropped}
    now = 0.0
    seen: set[int] = set()

    for step in steps:
        now += step
        for item in wheel.expire(now):
            assert item.deadline <= now
            assert id(item) in kept - seen
            seen.add(id(item))

    assert {id(i) for i in items if id(i) in kept and i.deadline < now - 2 * SLOT_S} <= seen


def test_a_deadline_already_past_expires_at_the_next_sweep() -> None:
    """An item added late is not lost behind the hand of the wheel."""
    wheel: DeadlineWheel[Item] = DeadlineWheel(100.0)
    late = Item(1.0)
    wheel.add(late, late.deadline)

    assert wheel.expire(100.0 + 2 * SLOT_S) == [late]


@given(st.lists(st.floats(0, 100), max_size=20), st.sets(st.integers(0, 19)), st.floats(0, 100))
def test_all_that_is_watched_can_be_taken_out_at_once(deadlines: list[float], dropped: set[int], now: float) -> None:
    """What was neither discarded nor expired, whatever its deadline; nothing is left to expire."""
    wheel: DeadlineWheel[Item] = DeadlineWheel(0.0)
    items = [Item(deadline) for deadline in deadlines]
    for item in items:
        wheel.add(item, item.deadline)
    for index in dropped & set(range(len(items))):
        wheel.discard(items[index])
    expired = wheel.expire(now)

    taken = wheel.take_all()

    kept = [item for index, item in enumerate(items) if index not in dropped and item not in expired]
    assert sorted(map(id, taken)) == sorted(map(id, kept))
    assert wheel.expire(1000.0) == []
