"""Slots: each router of a node has a place of its own, and a place is free again however its holder ends."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from router.gateway.slots import NoFreeSlot, Slot
from router.layout import Layout, slot_count


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, tmp_path)


def hold_and_die(layout: Layout) -> None:
    Slot.take(layout, 1)


def test_routers_take_the_lowest_free_place(layout: Layout) -> None:
    """So that the door's list of sockets is as short as can be."""
    first, second = Slot.take(layout, 2), Slot.take(layout, 2)
    first.release()
    third = Slot.take(layout, 2)

    assert (first.number, second.number, third.number) == (0, 1, 0)
    assert third.infer_socket == layout.infer_socket(0)


def test_there_is_room_for_a_successor_and_not_for_a_crowd(layout: Layout) -> None:
    """One more than routers at least, and no more than the door knows of."""
    for _ in range(slot_count(1)):
        Slot.take(layout, 1)

    assert slot_count(1) == 2
    assert slot_count(16) == 21
    with pytest.raises(NoFreeSlot, match="2 routers run already, for a setting of 1"):
        Slot.take(layout, 1)


def test_a_place_is_free_again_when_its_holder_dies(layout: Layout) -> None:
    """The kernel lets go of the lock; the sockets that were left are removed."""
    holder = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(layout,))
    holder.start()
    holder.join()
    layout.infer_socket(0).touch()

    slot = Slot.take(layout, 1)

    assert slot.number == 0
    assert not layout.infer_socket(0).exists()
