"""What tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from tests.valkey import running_valkey, short_folder

# How long an example takes says more about the machine than about the law.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def valkey_socket() -> Iterator[Path]:
    """The Unix socket of a Valkey shared by the whole run: keep tests apart by key prefix."""
    with short_folder() as folder, running_valkey(folder) as socket:
        yield socket


@pytest.fixture
def prefix() -> str:
    """Keeps one test's keys in the shared Valkey apart from the others'."""
    return f"test-{uuid4()}:"
