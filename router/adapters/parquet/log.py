"""The request log, or its labels, as a growing folder of Parquet files, that one process writes and anybody reads.

Theory of operation: rows come in stretches of the stream. A stretch's files are named by the place where it begins
and put in place one by one; then the file `_cursor` is replaced by the place where it ends, which makes them count.
Killed in between, the successor begins at the old place, and first deletes what was written from there. So each record
that the stream had is in the folder once, whatever dies when; who reads while a successor cleans up may see a record
twice, and drops it by `record_id`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from router.adapters.files.lock import try_lock
from router.adapters.parquet.parts import Parts, partition
from router.requestlog.rows import FIXED, Rows
from serving.atomic_file import replace_file, sync_folder

_START: Final = "0-0"
_CURSOR: Final = "_cursor"
_PART = re.compile(r"part-(\d+)-(\d+)-(\d+)\.parquet")


class FolderTaken(Exception):
    """Another process writes into this folder."""


class ParquetLog:
    """A `RecordSink`; see there. Blocks while it writes: not for an event loop's thread."""

    def __init__(
        self,
        root: Path,
        *,
        columns: Mapping[str, str] = FIXED,
        max_bytes: int | None = None,
        retention_days: int | None = None,
    ) -> None:
        """Take a folder over.

        Args:
            root: the folder, made if need be.
            columns: those that every row has, and their kinds.
            max_bytes: bound of all files together; the oldest go when a stretch has taken them beyond.
            retention_days: how many whole days are kept beside the youngest.

        Raises:
            FolderTaken: another process has it.
            OSError: the disk refuses.
        """
        root.mkdir(parents=True, exist_ok=True)
        lock = try_lock(root / "_lock")
        if lock is None:
            raise FolderTaken(f"{root}: another process writes into it")
        self._lock = lock
        self._root = root
        self._max_bytes = max_bytes
        self._retention_days = retention_days
        self._waiting = Parts(columns)
        cursor = root / _CURSOR
        self._cursor = cursor.read_text() if cursor.exists() else _START
        for path, place in self._parts():
            if place == _place(self._cursor):
                path.unlink()  # of a stretch that was never finished
        for path in root.glob("model=*/date=*/.part-*.tmp"):
            path.unlink()

    @property
    def cursor(self) -> str:
        """See the port."""
        return self._cursor

    def add(self, rows: Rows) -> None:
        """See the port."""
        self._waiting.add(rows)

    def commit(self, upto: str) -> int:
        """See the port; then delete what is too old or too much."""
        for model, day, number, part in self._waiting:
            folder = partition(self._root, model, day)
            part.write(folder / f"part-{self._cursor}-{number}.parquet", durable=True)
            sync_folder(folder.parent)  # of the model, where the day's may be new; the root is synced with the cursor
        replace_file(self._root / _CURSOR, upto.encode(), durable=True)
        left_out = self._waiting.clear()
        self._cursor = upto
        self._retire()
        return left_out

    def close(self) -> None:
        """Let the folder go; what was not committed is read again by the next one."""
        os.close(self._lock)

    def _retire(self) -> None:
        if self._max_bytes is None and self._retention_days is None:
            return
        parts = sorted(self._parts(), key=lambda each: each[1])
        days = {path: date.fromisoformat(path.parent.name.removeprefix("date=")) for path, _ in parts}
        if self._retention_days is not None and parts:
            oldest = max(days.values()) - timedelta(days=self._retention_days)
            for path, _ in parts:
                if days[path] < oldest:
                    _delete(path)
            parts = [each for each in parts if days[each[0]] >= oldest]
        sizes = [path.stat().st_size for path, _ in parts]
        excess = sum(sizes) - (self._max_bytes if self._max_bytes is not None else sum(sizes))
        for (path, _), size in zip(parts, sizes, strict=True):
            if excess <= 0:
                break
            _delete(path)
            excess -= size

    def _parts(self) -> list[tuple[Path, tuple[int, int]]]:
        """List the files and the places where their stretches begin."""
        found = ((path, _PART.fullmatch(path.name)) for path in self._root.glob("model=*/date=*/part-*"))
        return [(path, (int(match[1]), int(match[2]))) for path, match in found if match]


def _place(cursor: str) -> tuple[int, int]:
    milliseconds, _, number = cursor.partition("-")
    return int(milliseconds), int(number)


def _delete(path: Path) -> None:
    """Delete a file, and the folders of its day and model when they are empty then."""
    path.unlink()
    for folder in (path.parent, path.parent.parent):
        if any(folder.iterdir()):
            break
        folder.rmdir()
