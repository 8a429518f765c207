"""Who was at work when a process died: one byte per guest in a mapped file, which outlives the process.

Setting a byte in a shared mapping is a store to memory, cheap enough for every run; the kernel keeps it whatever ends
the process. The next incarnation of a host reads who was marked and does not let them in again.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path
from typing import Final

#: Longest name of a guest: 128 characters of model, a slash, ten digits.
_NAME_BYTES: Final = 140
_SLOT_BYTES: Final = _NAME_BYTES + 1
_AT_WORK: Final = 1
#: Guests that one host may have loaded at once, whatever its settings say.
MAX_MARKS: Final = 4096


class Mark:
    """One guest's byte, set and cleared by one thread at a time."""

    __slots__ = ("_at", "_map")

    def __init__(self, mapped: mmap.mmap, at: int) -> None:
        self._map = mapped
        self._at = at

    def set(self) -> None:
        """Say that the guest's code is about to run, or to load."""
        self._map[self._at] = _AT_WORK

    def clear(self) -> None:
        """Say that it has returned."""
        self._map[self._at] = 0


class Marks:
    """The marks of one host's loaded guests; made anew by each incarnation."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with path.open("xb+") as file:
            file.truncate(MAX_MARKS * _SLOT_BYTES)
            self._map = mmap.mmap(file.fileno(), 0)
            self._inode = os.fstat(file.fileno()).st_ino
        self._free = list(range(MAX_MARKS - 1, -1, -1))
        self._slots: dict[str, int] = {}
        self._path = path

    def claim(self, guest: str) -> Mark:
        """Reserve a guest's mark until it is released."""
        slot = self._slots[guest] = self._free.pop()
        at = slot * _SLOT_BYTES
        self._map[at : at + _SLOT_BYTES] = b"\0" + guest.encode().ljust(_NAME_BYTES, b"\0")
        return Mark(self._map, at)

    def release(self, guest: str) -> None:
        """Give its mark back."""
        slot = self._slots.pop(guest)
        self._map[slot * _SLOT_BYTES] = 0
        self._free.append(slot)

    def close(self) -> None:
        """Leave in order: nobody is to be suspected. A successor's file, if there is one already, stays."""
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


def read_marked(path: Path) -> frozenset[str]:
    """Name the guests that were at work when the file's last writer ended; none when it left in order."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return frozenset()
    slots = (content[at : at + _SLOT_BYTES] for at in range(0, len(content), _SLOT_BYTES))
    return frozenset(slot[1:].rstrip(b"\0").decode() for slot in slots if slot[0] == _AT_WORK)
