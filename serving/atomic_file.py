"""Files that are replaced as a whole: whoever reads, or starts after a crash, finds the old one or the new one.

The new content is written beside the old, under a hidden name of its own, and then renamed: several processes may
replace the same file, and the last one wins. A kill in between leaves that hidden file behind, `.NAME.RANDOM.tmp`.

A kill cannot undo a rename, but a loss of power can, and may leave a renamed file without its content. Replace
*durably* what must survive that; it waits for the disk, for milliseconds. All of it blocks: call it from a thread where
a loop must not wait.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SUFFIX: Final = ".tmp"


def replace_file(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Put a file in place of an older one; only its owner can read it, at any moment.

    Raises:
        OSError: the disk is full, say; the old file stands, and nothing is left beside it.
    """
    with replacing(path, durable=durable) as unfinished:
        unfinished.write_bytes(content)


@contextmanager
def replacing(path: Path, *, durable: bool = False, mode: int = 0o600) -> Iterator[Path]:
    """Yield an empty file to write the new content into; put it in place unless the block raises.

    Args:
        path: the file to replace.
        durable: also against a loss of power.
        mode: permissions of the new file, less what the process's umask takes away.

    Raises:
        OSError: see `replace_file`.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            yield unfinished
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        unfinished.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError) and str(error.filename) == str(unfinished):
            # Under the name that the caller knows: a trouble that lasts has one message, and is told once.
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: of files renamed into it, and of folders made in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def name_to_replace(name: str) -> str | None:
    """Return the name of the file that an unfinished one was to replace; None for any other file."""
    if not (name.startswith(".") and name.endswith(_SUFFIX)):
        return None
    return name[1 : -len(_SUFFIX)].rpartition(".")[0] or None
