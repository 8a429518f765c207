"""The accounting of a node's request log: living incarnations, dead ones, and those whose records are long shipped.

`STATE/spool/totals` holds the sum over all incarnations whose folders are gone. Folding a folder in takes two steps,
the new totals and the deletion; the totals name the folders that they contain, so that a kill between the two neither
loses nor doubles a count. Readers share the lock that a fold holds, and see a folder either inside or outside.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from router.adapters.files.lock import locked
from router.adapters.files.spool_folder import SpoolFolder
from router.ports import StoreUnavailable
from router.requestlog.accounting import ModelTally, Tallies, merge, to_document
from router.requestlog.counters import COUNTERS_BYTES, LogCounters
from serving.atomic_file import replace_file

TOTALS: Final = "totals"
_LOCK: Final = "totals.lock"


class Totals(msgspec.Struct, frozen=True):
    """What incarnations that are gone have left."""

    folded: tuple[str, ...] = ()
    """Incarnations counted in here whose folders may still be there: not to be counted again."""
    shipped_bytes: int = 0
    models: dict[str, ModelTally] = {}


class CountersCopy(msgspec.Struct, frozen=True):
    """One set of counters at one moment."""

    tallies: dict[str, ModelTally]
    end: int
    shipped: int


def fold(folder: SpoolFolder) -> None:
    """Add a folder's counters to the totals and delete it; blocks briefly.

    For a folder whose records are all shipped, and that is not folded already.
    """
    root = folder.path.parent
    with locked(root / _LOCK):
        totals = _read_totals(root)
        still_there = tuple(name for name in totals.folded if (root / name).exists())
        fresh = Totals(
            folded=(*still_there, folder.incarnation),
            shipped_bytes=totals.shipped_bytes + folder.end,
            models=merge((totals.models, folder.counters.tallies())),
        )
        replace_file(root / TOTALS, msgspec.msgpack.encode(fresh), durable=True)  # what it replaces goes for good
        folder.delete()


def is_folded(folder: SpoolFolder) -> bool:
    """Return whether a predecessor was killed after it had counted this folder and before it had deleted it."""
    return folder.incarnation in _read_totals(folder.path.parent).folded


class LocalLogAccounting:
    """`LogAccounting` of one node, read from the disk beside the routers: no request waits for it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def accounting(self) -> Mapping[str, Any]:
        """See the port; `spool` holds the bytes that wait, those shipped so far, and the folders that there are."""
        try:
            return await asyncio.to_thread(self.read)
        except (OSError, msgspec.DecodeError) as error:
            raise StoreUnavailable(f"the counters in {self._root} cannot be read: {error}") from error

    def read(self) -> dict[str, Any]:
        """Do it now, in this thread."""
        tallies, spool = self._read()
        return {**to_document(tallies), "spool": spool}

    def tallies(self) -> Tallies:
        """Return the sum per model as values."""
        return self._read()[0]

    def _read(self) -> tuple[Tallies, dict[str, int]]:
        if not self._root.is_dir():
            return {}, {"waiting_bytes": 0, "shipped_bytes": 0, "folders": 0}
        with locked(self._root / _LOCK, shared=True):
            totals = _read_totals(self._root)
            copies = [
                copy
                for path in incarnation_folders(self._root)
                if path.name not in totals.folded and (copy := _read_counters(path)) is not None
            ]
        spool = {
            "waiting_bytes": sum(max(0, copy.end - copy.shipped) for copy in copies),
            "shipped_bytes": totals.shipped_bytes + sum(copy.shipped for copy in copies),
            "folders": len(copies),
        }
        return merge((totals.models, *(copy.tallies for copy in copies))), spool


def incarnation_folders(root: Path) -> Iterator[Path]:
    """Yield the folders of all incarnations under a root."""
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if path.is_dir())


def _read_totals(root: Path) -> Totals:
    try:
        return msgspec.msgpack.decode((root / TOTALS).read_bytes(), type=Totals)
    except FileNotFoundError:
        return Totals()


def _read_counters(path: Path) -> CountersCopy | None:
    """Copy a folder's counters, alive or not; None where there are none, not yet or no more."""
    try:
        with (
            (path / "counters").open("rb") as file,
            mmap.mmap(file.fileno(), COUNTERS_BYTES, access=mmap.ACCESS_READ) as pages,
            memoryview(pages) as view,
            closing(LogCounters(view)) as counters,
        ):
            return CountersCopy(counters.tallies(), counters.end, counters.shipped)
    except (FileNotFoundError, ValueError):
        return None
