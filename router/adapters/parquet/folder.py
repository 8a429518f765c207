"""An export of the request log: a fresh folder of Parquet files, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from router.adapters.parquet.parts import Parts, partition
from router.requestlog.rows import Rows

_PART_ROWS: Final = 50_000


class RowSink(Protocol):
    """Where exported rows go; write another class for another place."""

    def write(self, rows: Rows) -> None:
        """Take one record's rows."""

    def close(self) -> int:
        """Finish; return how many records could not be kept in such a place, and were left out."""


class ParquetFolder:
    """A `RowSink`. Raises `FileExistsError` for a folder that holds something: a second export would double rows."""

    def __init__(self, root: Path, *, part_rows: int = _PART_ROWS) -> None:
        root.mkdir(parents=True, exist_ok=True)
        if any(root.iterdir()):
            raise FileExistsError(17, "is not empty; export into a fresh folder", str(root))
        self._root = root
        self._part_rows = part_rows
        self._waiting = Parts()
        self._rows_waiting = 0
        self._written = 0
        self._left_out = 0

    def write(self, rows: Rows) -> None:
        """Keep rows until there are enough for files."""
        self._waiting.add(rows)
        self._rows_waiting += len(rows.rows)
        if self._rows_waiting >= self._part_rows:
            self._write_parts()

    def close(self) -> int:
        """Write what waits; see `RowSink`."""
        self._write_parts()
        return self._left_out

    def _write_parts(self) -> None:
        for model, day, _, part in self._waiting:
            self._written += 1
            part.write(partition(self._root, model, day) / f"part-{self._written:05d}.parquet")
        self._left_out += self._waiting.clear()
        self._rows_waiting = 0
