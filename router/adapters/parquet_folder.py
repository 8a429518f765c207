"""An export of the request log: a fresh folder of Parquet files, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from router.adapters.parquet_parts import Part, Schema, partition
from router.requestlog.rows import Rows

_PART_ROWS: Final = 50_000


class RowSink(Protocol):
    """Where exported rows go; write another class for another place."""

    def write(self, rows: Rows) -> None:
        """Take one record's rows."""

    def close(self) -> None:
        """Finish."""


class ParquetFolder:
    """A `RowSink`. Raises `FileExistsError` for a folder that holds something: a second export would double rows."""

    def __init__(self, root: Path, *, part_rows: int = _PART_ROWS) -> None:
        root.mkdir(parents=True, exist_ok=True)
        if any(root.iterdir()):
            raise FileExistsError(17, "is not empty; export into a fresh folder", str(root))
        self._root = root
        self._part_rows = part_rows
        self._waiting: dict[tuple[str, str, Schema], Part] = {}
        self._rows_waiting = 0
        self._parts = 0

    def write(self, rows: Rows) -> None:
        """Keep rows until a part is full; records of another schema go into a part of their own."""
        key = (rows.model, rows.day.isoformat(), rows.schema)
        if key not in self._waiting:
            self._waiting[key] = Part(rows.schema)
        self._waiting[key].add(rows.rows)
        self._rows_waiting += len(rows.rows)
        if self._rows_waiting >= self._part_rows:
            self.close()

    def close(self) -> None:
        """Write what waits."""
        for (model, day, _), part in self._waiting.items():
            self._parts += 1
            part.write(partition(self._root, model, day) / f"part-{self._parts:05d}.parquet")
        self._waiting.clear()
        self._rows_waiting = 0
