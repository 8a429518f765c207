"""The last scaling decision of a version as a small file: written in Ray's controller, read by the control process."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from serving.atomic_file import replace_file
from serving.deployment.spec import app_name


class ScalingRecord(msgspec.Struct, frozen=True):
    """What was decided, and why."""

    replicas: int
    reason: str


def record_path(run_dir: Path, model: str, version: int) -> Path:
    """Name a version's file."""
    return run_dir / f"{app_name(model, version)}.scaling.json"


def write_record(path: Path, record: ScalingRecord) -> None:
    """Replace the file; a disk that is full must not keep versions from growing."""
    with contextlib.suppress(OSError):
        replace_file(path, msgspec.json.encode(record))


def read_record(path: Path) -> ScalingRecord | None:
    """Read the file; None when nothing has been decided yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ScalingRecord)
    except (OSError, msgspec.DecodeError):
        return None
