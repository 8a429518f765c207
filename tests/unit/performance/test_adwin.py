"""ADWIN finds changes when river's does, forgets what was before, and stays small."""

from __future__ import annotations

import numpy as np
import pytest
from river.drift import ADWIN

from router.performance.adwin import Adwin


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("after", [0.1, 0.15, 0.3])
def test_the_first_change_is_found_at_the_value_where_river_finds_it(seed: int, after: float) -> None:
    """On 4 000 losses, the error rate of which rises half way. Afterwards the two may forget at different speeds."""
    rng = np.random.default_rng(seed)
    values = (rng.random(4000) < np.where(np.arange(4000) < 2000, 0.1, after)).astype(float).tolist()
    ours, theirs = Adwin(), ADWIN()

    def rivers(value: float) -> bool:
        theirs.update(value)
        return bool(theirs.drift_detected)

    found = next((i for i, value in enumerate(values) if ours.update(value)), None)
    assert found == next((i for i, value in enumerate(values) if rivers(value)), None)


def test_the_window_forgets_what_was_before_a_change() -> None:
    """Its mean becomes that of the new values."""
    window = Adwin()
    changes = [window.update(float(i >= 1000)) for i in range(2000)]

    assert any(changes[1000:1100])
    assert not any(changes[:1000])
    assert window.width <= 1000
    assert window.mean == 1


def test_memory_grows_with_the_logarithm() -> None:
    """20 000 values lie in fewer than a hundred buckets."""
    window = Adwin()
    for i in range(20_000):
        window.update(float(i % 2))

    assert window.width == 20_000
    assert sum(len(row) for row in window._rows) < 100
