"""Files that are whole or not there at all, for their owner's eyes only; and such that know when they are damaged.

Blocking file access: call from a thread, or before serving begins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import msgspec


class Unreadable(Exception):
    """A file that is not there, or not as it was written: says which and why."""


class _Sealed(msgspec.Struct):
    sha256: str
    """Of `content`, byte by byte as it stands in the file."""
    content: msgspec.Raw


_decoder = msgspec.json.Decoder(_Sealed)


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in place of an older one, durably: a crash leaves the old one or the new.

    Nobody but its owner can read it at any moment (mkstemp makes it 0600).

    Raises:
        OSError: e.g. the disk is full; the old file stays.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    # The rename itself is durable only once its folder is.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_sealed(path: Path, content: bytes) -> None:
    """Write JSON together with its checksum. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sealed = _Sealed(hashlib.sha256(content).hexdigest(), msgspec.Raw(content))
    replace_file(path, msgspec.json.encode(sealed))


def read_sealed(path: Path) -> bytes:
    """Read what `write_sealed` wrote.

    Raises:
        Unreadable: there is no such file, or it is damaged.
    """
    try:
        sealed = _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        raise Unreadable(f"{path}: there is no snapshot yet") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path}: {error}") from error
    content = bytes(sealed.content)
    if hashlib.sha256(content).hexdigest() != sealed.sha256:
        raise Unreadable(f"{path}: the checksum does not match; the file is damaged")
    return content
