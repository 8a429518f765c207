"""Where Ray's logs lie and how large they grow: in the gateway's own logs from the first line on, and bounded.

Ray writes into its session's folder, which ends with the gateway, however that ends; so the session's `logs` is a link
out of it. Ray rotates each file by itself; but every process has files of its own, so processes that come and go would
fill the disk all the same: of all files together, those written least recently go first.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

#: Read by all processes of Ray: where a log is rotated, and how many old ones of it are kept.
ROTATION: Final = {"RAY_ROTATION_MAX_BYTES": str(4 << 20), "RAY_ROTATION_BACKUP_COUNT": "1"}
#: What all of them may have together.
MAX_BYTES: Final = 128 << 20
MAX_FILES: Final = 1000

_NOW: Final = "ray"
_BEFORE: Final = "ray.before"


def begin(logs_dir: Path) -> Path:
    """Make the folder for this run; the last run's becomes `ray.before`, and the one before that goes."""
    now, before = logs_dir / _NOW, logs_dir / _BEFORE
    if now.is_symlink():
        now.unlink()
    if now.exists():
        shutil.rmtree(before, ignore_errors=True)
        now.rename(before)
    now.mkdir(mode=0o700)
    return now


def prune(folder: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> None:
    """Remove the files that were written least recently, until the rest are few and small enough."""
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        except FileNotFoundError:  # rotated away meanwhile
            continue
    bytes_left = files_left = 0
    for _, size, path in sorted(found, reverse=True):
        bytes_left, files_left = bytes_left + size, files_left + 1
        if bytes_left > max_bytes or files_left > max_files:
            path.unlink(missing_ok=True)
