"""Whatever bytes arrive, a reader accepts them or blames the client: the quick part of `make fuzz`."""

from __future__ import annotations

import pytest

from tests.fuzz.mutation import mutants
from tests.fuzz.targets import TARGETS

_COUNT = 3000


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_damaged_bytes_never_fail_a_reader(name: str) -> None:
    """Thousands of nearly valid inputs, the same ones every time."""
    target = TARGETS[name]
    for data in mutants(target.seeds, seed=1, count=_COUNT):
        try:
            target.read(data)
        except Exception as error:  # noqa: BLE001 - any exception is the finding, and its input has to be shown
            pytest.fail(f"{data!r}: {type(error).__name__}: {error}")
