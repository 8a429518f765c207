"""One router incarnation's part of the request log on disk, held under its lock.

`STATE/spool/<incarnation>/` contains

    lock                        held (flock) by the one process that may change anything here
    counters                    int64 cells, mapped into memory; allocated in full before the first record
    00000000000000000000.seg    segments, named by the logical offset of their first byte: whole records end to end
    checkpoint                  `logged` by column at the start of the newest segment; absent before the second one

Logical offsets count all bytes that the incarnation ever appended: they stay valid when shipped segments are deleted.
A folder whose lock is free belonged to a process that is gone; `adopt` takes it over and mends what the death left:
the torn record at its end and the counts that lag behind (see `router.requestlog.accounting`).
"""

from __future__ import annotations

import bisect
import mmap
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from router.adapters.files.lock import try_lock
from router.requestlog.counters import COUNTERS_BYTES, LogCounters
from router.requestlog.record import HEADER_BYTES, Frame, boundary, frame_length, iter_frames
from serving.atomic_file import replace_file

_CREATE_ATTEMPTS: Final = 10
_INCARNATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_SUFFIX: Final = ".seg"


class Checkpoint(msgspec.Struct, frozen=True):
    """What had been logged before the newest segment."""

    start: int
    logged: dict[int, int]


class SpoolFolder:
    """Segments and counters of one incarnation. Not for use by two threads at once, except `sync`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.incarnation = path.name
        self._lock = lock
        self._map = _map_counters(path / "counters")
        self.counters = LogCounters(memoryview(self._map))
        self.starts = sorted(int(name.stem) for name in path.glob(f"*{_SUFFIX}"))
        """First logical offset of each segment, ascending."""
        self.end = self.starts[-1] + self.segment_path(self.starts[-1]).stat().st_size if self.starts else 0
        """Logical offset after the last whole record."""

    @property
    def start(self) -> int:
        """Logical offset of the oldest byte kept."""
        return self.starts[0] if self.starts else self.end

    def segment_path(self, start: int) -> Path:
        """Name the segment file that begins at a logical offset."""
        return self.path / f"{start:020d}{_SUFFIX}"

    def read(self, offset: int, limit_bytes: int) -> bytes:
        """Read whole records from a logical offset on, up to a limit, or one record where that is longer.

        Records are cut by hopping over their headers, and not looked at where everything to the end fits the limit.
        A stretch that no writer can have written is returned to its segment's end: the reader's matter, not ours.
        """
        place = bisect.bisect_right(self.starts, offset) - 1
        following = self.starts[place + 1] if place + 1 < len(self.starts) else self.end
        available = following - offset
        if place < 0 or available <= 0:
            return b""
        with self.segment_path(self.starts[place]).open("rb", buffering=0) as segment:
            descriptor, position = segment.fileno(), offset - self.starts[place]
            chunk = os.pread(descriptor, min(limit_bytes, available), position)
            if len(chunk) >= available:
                return chunk
            if whole := boundary(chunk):
                return chunk[:whole]
            length = frame_length(os.pread(descriptor, HEADER_BYTES, position))
            return os.pread(descriptor, length if 0 < length < available else available, position)

    def release(self, offset: int) -> None:
        """Delete the segments that end at or before a logical offset; the newest stays."""
        self.counters.shipped = offset
        while len(self.starts) > 1 and self.starts[1] <= offset:
            self.segment_path(self.starts.pop(0)).unlink(missing_ok=True)

    def lose_oldest(self) -> bool:
        """Go on without the oldest segment, whose file somebody deleted; return whether there is another."""
        if len(self.starts) < 2:
            return False
        del self.starts[0]
        return True

    def write_checkpoint(self) -> None:
        """Put on disk what is logged up to `end`, where the next segment is to begin."""
        replace_file(self.path / "checkpoint", msgspec.msgpack.encode(Checkpoint(self.end, self.counters.logged())))

    def mend(self) -> None:
        """Cut off a torn record at the end and count what was not counted yet; may be killed and repeated."""
        checkpoint = self._read_checkpoint()
        counted: Iterable[Frame] = ()
        if self.starts and (checkpoint is None or checkpoint.start <= self.starts[-1]):
            segment = self.segment_path(self.starts[-1])
            records = segment.read_bytes()
            whole = boundary(records)
            os.truncate(segment, whole)
            self.end = self.starts[-1] + whole
            counted = iter_frames(records)
        # else killed between checkpoint and segment, or before the first: every record is under the checkpoint
        if checkpoint is not None:
            self.counters.restore(checkpoint.logged, counted)
        self.counters.end = self.end

    def close(self) -> None:
        """Let go of the counters and the lock; whoever locks the folder next may take it over."""
        self.counters.close()
        with suppress(BufferError):  # somebody still reads the counters; the map ends with them
            self._map.close()
        os.close(self._lock)

    def delete(self) -> None:
        """Remove everything, then let go."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def _read_checkpoint(self) -> Checkpoint | None:
        """Read it; None when the disk has damaged it: then the counters are the best that is known."""
        try:
            return msgspec.msgpack.decode((self.path / "checkpoint").read_bytes(), type=Checkpoint)
        except FileNotFoundError:
            return Checkpoint(0, {})
        except msgspec.DecodeError:
            return None


def create(root: Path, incarnation: str) -> SpoolFolder:
    """Make the folder of a new incarnation and lock it.

    Raises `FileExistsError` when there was one of that name, `OSError` when the disk refuses, `ValueError` for a name
    that cannot be a folder's.
    """
    if not _INCARNATION.fullmatch(incarnation):
        raise ValueError(f"not a name for a router incarnation: {incarnation!r}")
    path = root / incarnation
    for _ in range(_CREATE_ATTEMPTS):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = try_lock(path / "lock")
        if lock is None:
            continue  # a sibling took the empty folder for a dead router's, and deletes it
        if (path / "counters").exists():
            os.close(lock)
            break
        try:
            _allocate_counters(path / "counters")
            return SpoolFolder(path, lock)
        except OSError:
            os.close(lock)
            shutil.rmtree(path, ignore_errors=True)
            raise
    raise FileExistsError(f"{path}: another router runs or ran under this name; incarnations must be unique")


def adopt(path: Path) -> SpoolFolder | None:
    """Take over the folder of a router that is gone; None when it is alive, or left nothing."""
    lock = try_lock(path / "lock")
    if lock is None:
        return None
    counters = path / "counters"
    if not counters.exists() or counters.stat().st_size < COUNTERS_BYTES:
        # Killed while it was born, or while it was deleted: records exist only beside a whole file of counters.
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
        return None
    try:
        folder = SpoolFolder(path, lock)
    except BaseException:
        os.close(lock)
        raise
    try:
        folder.mend()
    except BaseException:
        folder.close()
        raise
    return folder


def _allocate_counters(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        # Not sparse: counting on a full disk must not end in SIGBUS.
        os.posix_fallocate(descriptor, 0, COUNTERS_BYTES)
    finally:
        os.close(descriptor)


def _map_counters(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), COUNTERS_BYTES)
