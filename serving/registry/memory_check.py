"""Whether what a version needs fits into the memory that is left: a decision on measured bytes. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

_GIB: Final = 1 << 30
_MIB: Final = 1 << 20


class Room(NamedTuple):
    """Memory of one device."""

    place: str
    """The device in words: `GPU 0`, `this node`."""
    total_bytes: int
    free_bytes: int


class Need(NamedTuple):
    """What a version takes of a device."""

    bytes: int
    is_measured: bool
    """As it was seen to take; otherwise at least so much, by the size of its files."""


def refuse_what_does_not_fit(need: Need, room: Room, *, share: float = 1.0, mend: str) -> str | None:
    """Decide on admission.

    Args:
        need: of one replica.
        room: what there is.
        share: part of the device that each replica was promised, 0 to 1; it may not take more, free or not.
        mend: what an operator can do about a refusal.

    Returns:
        None when it fits, else the refusal with all numbers, in words for an operator.
    """
    promised = round(share * room.total_bytes)
    if need.bytes <= min(room.free_bytes, promised):
        return None
    how = "was measured to take" if need.is_measured else "takes, by the size of its files, at least"
    if need.bytes > promised and share < 1:
        have = f"its share of {share:g} is {in_words(promised)} of the {in_words(room.total_bytes)} of {room.place}"
    else:
        have = f"{room.place} has {in_words(room.free_bytes)} free of {in_words(room.total_bytes)}"
    return f"does not fit: a replica {how} {in_words(need.bytes)}, and {have}; {mend}"


def in_words(size: int) -> str:
    """Write a number of bytes for people: in GiB, or in MiB where that is less than one."""
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.0f} MiB"
