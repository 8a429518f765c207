"""Reads the small files of a version whole, up to a bound: a card as large as a model would fill the process."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from serving.protocol.errors import too_large

MAX_CARD_BYTES: Final = 1024**2
"""Of an `MLmodel`, which is read by a parser that takes seconds for this much."""
MAX_METADATA_BYTES: Final = 64 * 1024**2
"""Of any other metadata file; the largest request that a client may send by default is as large."""


def read_metadata(path: Path, max_bytes: int = MAX_METADATA_BYTES) -> bytes:
    """Read a metadata file.

    Raises:
        ServingError: TOO_LARGE, it has more than `max_bytes` bytes.
    """
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    check_metadata_size(path.name, len(content), max_bytes)
    return content


def check_metadata_size(name: str, size_bytes: int, max_bytes: int = MAX_METADATA_BYTES) -> None:
    """Accept the size of a metadata file; raises as `read_metadata` does."""
    if size_bytes > max_bytes:
        raise too_large(f"the version's file {name} has more than {max_bytes // 1024**2} MiB, the limit of its kind")
