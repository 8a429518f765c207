"""The wheel gives every item back once its deadline has passed, never before, never twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.gateway.deadlines import SLOT_S, DeadlineWheel


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
