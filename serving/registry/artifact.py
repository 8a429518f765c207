"""What the registry knows of a version and what is fetched of it, and which names and files are acceptable. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from serving.protocol.errors import invalid, too_large
from serving.registry.golden import Golden
from serving.registry.options import ServingOptions

MLMODEL: Final = "MLmodel"
GOLDEN_REQUEST: Final = "shepherd/golden_request.json"
GOLDEN_RESPONSE: Final = "shepherd/golden_response.json"

PROFILE: Final = "extra_files/reference_profile.json"
"""What drift is measured against; `mlflow.onnx.log_model(extra_files=...)` puts it at the same place."""

MAX_FILES: Final = 1000
MAX_ARTIFACT_BYTES: Final = 20 * 1024**3

MODEL_SUFFIXES: Final = (".onnx", ".data", ".onnx_data", ".bin")
"""The model itself: ONNX files and the external data that they refer to."""
_METADATA: Final = re.compile(r".*\.json|.*\.ya?ml|(?:.*/)?(?:requirements|constraints)\.txt|MLmodel")

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)


class VersionInfo(msgspec.Struct, frozen=True):
    """One version as the registry lists it."""

    model: str
    version: int
    run_id: str = ""
    source: str = ""
    """Where its files lie, as the registry words it."""
    tags: Mapping[str, str] = {}
    aliases: tuple[str, ...] = ()
    created_at: float = 0.0
    """Unix seconds."""


class ModelInfo(msgspec.Struct, frozen=True):
    """One model as the registry lists it."""

    name: str
    latest_version: int
    """0 for a model without versions."""
    aliases: Mapping[str, int] = {}
    """Version by alias."""


class Artifact(msgspec.Struct, frozen=True):
    """A version on this machine: fetched, verified, with what is needed to serve it."""

    info: VersionInfo
    dir: Path
    onnx: Path | None
    """The ONNX file inside `dir`; None for a version whose backend needs none."""
    sha256: str
    """Digest of the model's files, see `serving.registry.digest`; empty when there are none."""
    golden: Golden
    options: ServingOptions
    lineage: Mapping[str, Any] = {}
    """run_id, git_commit, datasets, params, opset, sha256, bytes of the model's files, source; what is known."""


class ListedFile(msgspec.Struct, frozen=True):
    """One file as an artifact store lists it, its path relative to the version's folder."""

    path: str
    size_bytes: int


def check_name(name: str, what: str = "model name") -> str:
    """Return a name that is safe in URLs, file names and tags.

    Raises:
        ServingError: INVALID, it is not.
    """
    if not _NAME.fullmatch(name):
        raise invalid(
            f"{what} {name[:160]!r} is not acceptable: it must start with a letter or digit, go on with letters,"
            " digits, '_', '.' or '-', and have at most 128 characters"
        )
    return name


def wanted_files(listing: Iterable[ListedFile], *, max_bytes: int = MAX_ARTIFACT_BYTES) -> tuple[ListedFile, ...]:
    """Choose the files to fetch: models and their metadata. All else, pickles and code above all, is left where it is.

    Raises:
        ServingError: INVALID, a path leads out of the folder; TOO_LARGE, too many files or bytes.
    """
    files = tuple(file for file in listing if is_wanted(check_path(file.path)))
    if len(files) > MAX_FILES:
        raise too_large(f"the version has {len(files)} files; at most {MAX_FILES} are fetched")
    total = sum(file.size_bytes for file in files)
    if total > max_bytes:
        raise too_large(f"the version has {total} bytes; the limit is {max_bytes}")
    return files


def is_wanted(path: str) -> bool:
    """Tell whether a file of this name is fetched at all."""
    return is_model_file(path) or bool(_METADATA.fullmatch(path))


def is_model_file(path: str) -> bool:
    """Tell whether a file counts into the model's digest."""
    return path.endswith(MODEL_SUFFIXES)


def check_path(path: str) -> str:
    """Return a relative path that stays inside its folder.

    Raises:
        ServingError: INVALID, it does not.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise invalid(f"path {path!r} of the version leads out of its folder")
    return path
