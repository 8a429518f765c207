"""Where a process of the gateway writes its log: one file per kind of process, in the state directory."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path
from typing import Final

_OURS: Final = ("serving", "router")
_FORMAT: Final = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"


def log_to(folder: Path, name: str, level: str) -> None:
    """Append what our modules log, from `level` on, to `<name>.log`.

    Processes of one kind share a file: each line is one write to its end. A file that is moved away is begun anew.
    """
    handler = logging.handlers.WatchedFileHandler(folder / f"{name}.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    for package in _OURS:
        logger = logging.getLogger(package)
        logger.setLevel(level.upper())
        logger.addHandler(handler)
        logger.propagate = False
