"""What tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.valkey import running_valkey, short_folder


@pytest.fixture(scope="session")
def valkey_socket() -> Iterator[Path]:
    """The Unix socket of a Valkey shared by the whole run: keep tests apart by key prefix."""
    with short_folder() as folder, running_valkey(folder) as socket:
        yield socket
