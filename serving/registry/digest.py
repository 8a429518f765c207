"""Digests of a version's files on disk, in the notation of `sha256sum`.

The digest of several files is the sha256 of what `sha256sum` prints for them, sorted by path: lines of digest, two
spaces, path. The digest of a model that is one file is that file's own, so that anyone can check a version's tag with
`sha256sum model.onnx`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from serving.protocol.errors import invalid
from serving.registry.artifact import is_model_file


def file_digests(folder: Path) -> dict[str, str]:
    """Hash every file under a folder; keys are POSIX paths relative to it.

    Raises:
        ServingError: INVALID, something in it is neither a plain file nor a folder: a link could lead anywhere.
    """
    digests: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise invalid(f"'{path.relative_to(folder)}' of the version is neither a plain file nor a folder")
        if path.is_file():
            digests[path.relative_to(folder).as_posix()] = file_digest(path)
    return digests


def file_digest(path: Path) -> str:
    """Hash one file, of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(digests: Mapping[str, str]) -> str:
    """Digest several files as one: the key of the cache."""
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def model_digest(digests: Mapping[str, str]) -> str:
    """Digest what is run: the ONNX file and its external data; empty when there is none."""
    files = {path: digest for path, digest in digests.items() if is_model_file(path)}
    if len(files) == 1:
        return next(iter(files.values()))
    return tree_digest(files) if files else ""
