"""Counters of one router incarnation in a flat buffer that outlives its process. Pure.

All cells are int64 in the order of the machine: a page of header cells, then slots of 64: name length, name (31 cells),
16 counters for primaries, 16 for shadows. Slots are opened in order and never closed; slot 0 takes what has no model or
found no free slot. A slot's name length is stored last, so that a reader in another process, or after a kill, sees a
slot whole or not at all. `accounting` says why the counters are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from router.requestlog.accounting import DROP_REASONS, OTHER_MODELS, ModelTally, Tally
from router.requestlog.record import SHADOW, Frame

LOGGED: Final = 0
SAMPLED_OUT: Final = 1
_DROPPED: Final = 2
DROPPED: Final[Mapping[str, int]] = {reason: _DROPPED + place for place, reason in enumerate(DROP_REASONS)}
"""The counter of each reason, to be added to a column."""

_MAGIC: Final = 0x31474F4C4E454853  # "SHENLOG1", read as little-endian bytes
_HEADER_CELLS: Final = 512
_SLOT_CELLS: Final = 64
_NAME_CELLS: Final = 31
_PRIMARY: Final = 32
_SHADOW: Final = 48
_SLOTS: Final = 1024
_MAGIC_CELL: Final = 0
_END_CELL: Final = 1
_SHIPPED_CELL: Final = 2

COUNTERS_BYTES: Final = 8 * (_HEADER_CELLS + _SLOTS * _SLOT_CELLS)
"""Size of the file or buffer that holds one set of counters."""


class LogCounters:
    """Counters of one router incarnation over a buffer of `COUNTERS_BYTES`, zeroed or filled by an earlier instance.

    Raises `ValueError` for a buffer that holds something else.
    """

    def __init__(self, buffer: memoryview[int]) -> None:
        self.cells = buffer.cast("q")
        """Bare int64 counters; on the hot path callers count with `counters.cells[column + LOGGED] += 1`."""
        if len(buffer) != COUNTERS_BYTES or self.cells[_MAGIC_CELL] not in (0, _MAGIC):
            raise ValueError("not the counters of a request log, or of another release")
        if not buffer.readonly:
            self.cells[_MAGIC_CELL] = _MAGIC
        self._slots: dict[str, int] = {}
        self._find_new_slots()

    def column(self, model: str, kind: str) -> int:
        """Return the index of the first counter of a model and kind; opens a slot for a model not seen before."""
        slot = self._slots.get(model)
        if slot is None:
            slot = self._open_slot(model)
        return slot + (_SHADOW if kind == SHADOW else _PRIMARY)

    def add(self, columns: Iterable[int], counter: int) -> None:
        """Count once per column given."""
        cells = self.cells
        for column in columns:
            cells[column + counter] += 1

    def tallies(self) -> dict[str, ModelTally]:
        """Read every model's counters; safe beside a writer in another process."""
        self._find_new_slots()
        named = {OTHER_MODELS: _HEADER_CELLS, **self._slots}
        tallies = {
            model: ModelTally(self._tally(slot + _PRIMARY), self._tally(slot + _SHADOW))
            for model, slot in named.items()
        }
        return {model: tally for model, tally in tallies.items() if tally != ModelTally()}

    def logged(self) -> dict[int, int]:
        """Return `logged` by column: what a checkpoint keeps."""
        return {column: self.cells[column + LOGGED] for column in self._columns() if self.cells[column + LOGGED]}

    def restore(self, checkpoint: Mapping[int, int], frames: Iterable[Frame]) -> None:
        """Set `logged` to checkpoint + records found from the checkpoint on.

        After a kill that is never less than the copy. Where it is, because the disk lost what had been written, the
        difference becomes `dropped{corrupt}`, so that no request vanishes from the accounting.
        """
        logged = dict(checkpoint)
        for frame in frames:
            if frame.record is not None:
                column = self.column(frame.record.model, frame.record.kind)
                logged[column] = logged.get(column, 0) + 1
        for column in self._columns():
            found = logged.get(column, 0)
            lost = self.cells[column + LOGGED] - found
            if lost > 0:
                self.cells[column + DROPPED["corrupt"]] += lost
            self.cells[column + LOGGED] = found

    @property
    def end(self) -> int:
        """Logical offset of the end of the log, as last told by the writer."""
        return self.cells[_END_CELL]

    @end.setter
    def end(self, offset: int) -> None:
        self.cells[_END_CELL] = offset

    @property
    def shipped(self) -> int:
        """Logical offset up to which the log is known to be shipped; the shipper's stream knows better."""
        return self.cells[_SHIPPED_CELL]

    @shipped.setter
    def shipped(self, offset: int) -> None:
        self.cells[_SHIPPED_CELL] = offset

    def close(self) -> None:
        """Let go of the buffer; what was counted can still be read, and no more be changed."""
        mapped, self.cells = self.cells, memoryview(self.cells.tobytes()).cast("q")
        mapped.release()

    def _columns(self) -> Iterator[int]:
        for slot in (_HEADER_CELLS, *self._slots.values()):
            yield slot + _PRIMARY
            yield slot + _SHADOW

    def _tally(self, column: int) -> Tally:
        cells = self.cells
        dropped = {reason: n for reason, place in DROPPED.items() if (n := cells[column + place])}
        return Tally(cells[column + LOGGED], cells[column + SAMPLED_OUT], dropped)

    def _open_slot(self, model: str) -> int:
        name = model.encode("utf-8", "replace")
        place = len(self._slots) + 1
        if not 1 <= len(name) <= 8 * _NAME_CELLS or model == OTHER_MODELS or place >= _SLOTS:
            return _HEADER_CELLS
        slot = _HEADER_CELLS + place * _SLOT_CELLS
        padded = name.ljust(8 * _NAME_CELLS, b"\0")
        self.cells[slot + 1 : slot + 1 + _NAME_CELLS] = memoryview(padded).cast("q")
        self.cells[slot] = len(name)
        self._slots[model] = slot
        return slot

    def _find_new_slots(self) -> None:
        for place in range(len(self._slots) + 1, _SLOTS):
            slot = _HEADER_CELLS + place * _SLOT_CELLS
            length = self.cells[slot]
            if not length:
                return
            cells = self.cells[slot + 1 : slot + 1 + _NAME_CELLS]
            self._slots[cells.tobytes()[:length].decode()] = slot
