"""Deadlines of many calls in coarse slots: two set operations per call instead of a timer each. Pure."""

from __future__ import annotations

from typing import Final, Generic, Protocol, TypeVar

#: Width of a slot: an expired call is noticed at most this much late.
SLOT_S: Final = 0.05


class Expiring(Protocol):
    """What the wheel keeps: it remembers its own slot."""

    bucket: int


T = TypeVar("T", bound=Expiring)


class DeadlineWheel(Generic[T]):
    """Items by the slot in which their deadline falls. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._slots: dict[int, set[T]] = {}
        self._swept = int(now / SLOT_S)

    def add(self, item: T, deadline: float) -> None:
        """Watch an item; a deadline in the past expires at the next sweep."""
        bucket = int(deadline / SLOT_S) + 1
        if bucket <= self._swept:
            bucket = self._swept + 1
        item.bucket = bucket
        slot = self._slots.get(bucket)
        if slot is None:
            slot = self._slots[bucket] = set()
        slot.add(item)

    def discard(self, item: T) -> None:
        """Stop watching an item; harmless when it is not watched."""
        slot = self._slots.get(item.bucket)
        if slot is not None:
            slot.discard(item)

    def take_all(self) -> list[T]:
        """Take out everything, whatever its deadline."""
        slots, self._slots = self._slots, {}
        return [item for slot in slots.values() for item in slot]

    def expire(self, now: float) -> list[T]:
        """Take out everything whose deadline has passed, earliest slot first."""
        upto = int(now / SLOT_S)
        expired: list[T] = []
        if upto - self._swept > len(self._slots):  # after a pause: look at what exists, not at every slot passed
            due = sorted(bucket for bucket in self._slots if bucket <= upto)
        else:
            due = [bucket for bucket in range(self._swept + 1, upto + 1) if bucket in self._slots]
        for bucket in due:
            expired += self._slots.pop(bucket)
        self._swept = max(self._swept, upto)
        return expired
