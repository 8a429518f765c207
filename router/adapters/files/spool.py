"""The writing end of the request log: records appended to local segment files, one write per batch.

The order of writes makes the counters exact (`router.requestlog.accounting`): append, then count; a failed append is
cut off, then counted as dropped by the caller; a checkpoint, then a segment.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from router.adapters.files.spool_folder import SpoolFolder, create
from router.requestlog.counters import COUNTERS_BYTES, LOGGED, LogCounters

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SEGMENTS_PER_BOUND: Final = 4


class SpoolLimits(msgspec.Struct, frozen=True):
    """How much disk one router's records may take."""

    max_bytes: int = 1 << 30
    """Bound of all segments together. Up to one segment of it may hold records that are shipped already."""
    segment_bytes: int = 16 << 20
    """A segment is closed when the next batch would take it over this, or over a quarter of the bound."""


class SpoolFull(Exception):
    """The bound, or the disk, is reached: nothing of the batch was kept."""


class RecordLog(Protocol):
    """What a recorder writes to."""

    @property
    def counters(self) -> LogCounters:
        """Where the recorder counts what it does not append."""

    def append(self, frames: bytes, columns: Sequence[int]) -> None:
        """Append whole records and count each in the column given for it.

        Raises `SpoolFull` or `OSError`; then nothing was kept and nothing counted.
        """


class Spool:
    """A `RecordLog` on disk: bounded, unbuffered, safe against the death of its process at any instruction."""

    def __init__(self, folder: SpoolFolder, limits: SpoolLimits) -> None:
        self.folder = folder
        self.counters = folder.counters
        self._max_bytes = limits.max_bytes
        self._segment_bytes = min(limits.segment_bytes, limits.max_bytes // _SEGMENTS_PER_BOUND)
        self._segment: int | None = None
        self._damaged = False

    @classmethod
    def open(cls, root: Path, incarnation: str, limits: SpoolLimits) -> Spool:
        """Begin the log of a new incarnation under `root`.

        Raises as `router.adapters.files.spool_folder.create`; a router that wants to serve all the same uses `NoSpool`.
        """
        return cls(create(root, incarnation), limits)

    def append(self, frames: bytes, columns: Sequence[int]) -> None:
        """See `RecordLog`."""
        folder, size = self.folder, len(frames)
        if folder.end - folder.start + size > self._max_bytes:
            raise SpoolFull(f"{folder.path}: {folder.end - folder.start} of {self._max_bytes} bytes wait to be shipped")
        try:
            self._write(frames)
        except OSError as error:
            if error.errno in _FULL:
                raise SpoolFull(f"{folder.path}: {os.strerror(error.errno or 0)}") from error
            raise
        folder.end += size
        self.counters.add(columns, LOGGED)
        self.counters.end = folder.end

    def close(self) -> None:
        """Close the current segment; the folder stays locked, for what is yet to be shipped."""
        if self._segment is not None:
            os.close(self._segment)
            self._segment = None
        self._damaged = True

    def _write(self, frames: bytes) -> None:
        if self._damaged:
            raise OSError(errno.EIO, "the spool is closed, or a failed write could not be undone")
        segment = self._segment_for(len(frames))
        position = self.folder.end - self.folder.starts[-1]
        try:
            written = os.write(segment, frames)
            while written < len(frames):  # a short write: mostly the disk's end, which the next one names
                written += os.write(segment, memoryview(frames)[written:])
        except OSError:
            self._damaged = True
            os.ftruncate(segment, position)
            self._damaged = False
            raise

    def _segment_for(self, size: int) -> int:
        folder = self.folder
        if self._segment is not None:
            used = folder.end - folder.starts[-1]
            if not used or used + size <= self._segment_bytes:
                return self._segment
            folder.write_checkpoint()
            # From here on nothing may go to the old segment: the checkpoint counts it as complete.
            os.close(self._segment)
            self._segment = None
        path = folder.segment_path(folder.end)
        self._segment = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)
        folder.starts.append(folder.end)
        return self._segment


class NoSpool:
    """A `RecordLog` for a router whose spool could not be made: it serves all the same, and counts what it drops."""

    folder = None

    def __init__(self, cause: OSError) -> None:
        self.counters = LogCounters(memoryview(bytearray(COUNTERS_BYTES)))
        self._cause = cause

    def append(self, frames: bytes, columns: Sequence[int]) -> None:
        """Raise; see `RecordLog`."""
        raise OSError(self._cause.errno or errno.EIO, f"no spool: {self._cause}")

    def close(self) -> None:
        """Do nothing."""
