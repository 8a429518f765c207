"""Remembers on a node how much memory versions were seen to take, by the digest of their files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from serving.atomic_file import replace_file
from serving.registry.options import ServingOptions


class Measured(msgspec.Struct, frozen=True):
    """What one replica took, loaded and warm; 0 where nobody has measured."""

    memory_bytes: int = 0
    gpu_bytes: int = 0


class Measurements:
    """A folder with a small file for each combination of files, provider and largest batch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, digest: str, options: ServingOptions) -> Measured:
        """Look up what is known."""
        try:
            return msgspec.json.decode(self._path(digest, options).read_bytes(), type=Measured)
        except (OSError, msgspec.DecodeError):
            return Measured()

    def remember(self, digest: str, options: ServingOptions, seen: Measured) -> None:
        """Keep the larger of what was known and what was seen now; a disk that is full keeps no model from serving."""
        known = self.of(digest, options)
        largest = Measured(
            max(known.memory_bytes, seen.memory_bytes),
            max(known.gpu_bytes, seen.gpu_bytes),
        )
        path = self._path(digest, options)
        if largest == known:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, msgspec.json.encode(largest))

    def _path(self, digest: str, options: ServingOptions) -> Path:
        return self._folder / f"{digest}.{options.provider}.{options.max_batch}.json"
