"""The folder in which the processes of a node leave their metrics, and how it is read.

Each process replaces its own file `<process>.<pid>.<started>.metrics` as a whole (`serving.atomic_file`). The reader
also tidies up: files of processes that have ended are folded into `retired.metrics`, without their gauges, so that
counters never step back, gauges do not outlive what they describe, and the folder stays as small as the set of the
living. Readers exclude each other by a lock on the folder.

A crash between "folded" and "file removed" must not count a file twice. So `retired.metrics` names the files that it
has swallowed, in the same write that swallows them; a named file that still exists is removed, not read.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from serving.atomic_file import name_to_replace, replace_file
from serving.telemetry.process import ProcessIdentity, current_process, is_alive
from serving.telemetry.snapshot import (
    Published,
    Retired,
    Snapshot,
    decode_published,
    decode_retired,
    encode,
    merge,
    without_gauges,
)

_SUFFIX: Final = ".metrics"
_RETIRED: Final = "retired.metrics"


class Reading(NamedTuple):
    """What a folder held."""

    snapshot: Snapshot
    """All processes of the node, merged."""
    unreadable: int
    """Files that nobody of this release has written whole; they were passed over."""


def write_snapshot(folder: Path, process: str, snapshot: Snapshot) -> None:
    """Replace the calling process' file.

    Raises:
        OSError: the folder is not there or not writable, or the disk is full; the former file stands.
    """
    pid, started = current_process()
    replace_file(folder / f"{process}.{pid}.{started}{_SUFFIX}", encode(Published(snapshot)))


def read_folder(folder: Path) -> Reading:
    """Merge all processes, the dead ones included, and fold these away if the disk lets us.

    Raises:
        OSError: the folder is not there or not accessible.
    """
    with _only_reader(folder):
        retired, unreadable = _read_retired(folder / _RETIRED)
        found = _sort(folder, retired.folded)
        ended = merge([retired.snapshot, *map(without_gauges, found.dead)])
        if found.ended:
            with suppress(OSError):  # a full disk: whoever reads next finds the same files and tries again
                replace_file(folder / _RETIRED, encode(Retired(ended, frozenset(path.name for path in found.ended))))
                for path in (*found.ended, *folder.glob(f".{_RETIRED}.*")):  # the latter of readers that were killed
                    path.unlink(missing_ok=True)
        return Reading(merge([ended, *found.living]), unreadable + found.unreadable)


class _Found(NamedTuple):
    living: list[Snapshot]
    dead: list[Snapshot]
    """Of processes that have ended and are not folded yet."""
    ended: list[Path]
    """Every file of a process that has ended, unfinished and unreadable ones included."""
    unreadable: int


def _sort(folder: Path, folded: frozenset[str]) -> _Found:
    living: list[Snapshot] = []
    dead: list[Snapshot] = []
    ended: list[Path] = []
    unreadable = 0
    for path, process in _files_of_processes(folder):
        # Asked before the file is read: who has ended by now has written the last of it.
        alive = process is not None and is_alive(process)
        if process is not None and not alive:
            ended.append(path)
        if path.name in folded or not path.name.endswith(_SUFFIX):
            continue
        try:
            snapshot = decode_published(path.read_bytes()).snapshot
        except (OSError, msgspec.DecodeError):
            unreadable += 1
        else:
            (living if alive else dead).append(snapshot)
    return _Found(living, dead, ended, unreadable)


def _read_retired(path: Path) -> tuple[Retired, int]:
    try:
        return decode_retired(path.read_bytes()), 0
    except FileNotFoundError:
        return Retired(), 0
    except msgspec.DecodeError:
        return Retired(), 1


def _files_of_processes(folder: Path) -> Iterator[tuple[Path, ProcessIdentity | None]]:
    for path in folder.iterdir():
        name = name_to_replace(path.name) or path.name
        if name.endswith(_SUFFIX) and name != _RETIRED:
            *_, pid, started = ("", "", *name.removesuffix(_SUFFIX).split("."))
            is_ours = pid.isdecimal() and started.isdecimal()
            yield path, ProcessIdentity(int(pid), int(started)) if is_ours else None


@contextmanager
def _only_reader(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
