"""Files that know when they are damaged, replaced as a whole.

Blocking file access: call from a thread, or before serving begins.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from serving.atomic_file import replace_file


class Unreadable(Exception):
    """A file that is not there, or not as it was written: says which and why."""


class _Sealed(msgspec.Struct):
    sha256: str
    """Of `content`, byte by byte as it stands in the file."""
    content: msgspec.Raw


_decoder = msgspec.json.Decoder(_Sealed)


def write_sealed(path: Path, content: bytes) -> None:
    """Write JSON together with its checksum. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sealed = _Sealed(hashlib.sha256(content).hexdigest(), msgspec.Raw(content))
    replace_file(path, msgspec.json.encode(sealed), durable=True)


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
