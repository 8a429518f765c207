"""The sample of answers that wait for labels: fair, nested, and the same for whoever draws it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.monitor.counting import shadow_id
from router.monitor.sampling import MAX_RANK, rank_of, share_kept


@pytest.mark.parametrize("name", ["r{}", "{:032x}", "order-2026-{:09d}", "{}"])
@pytest.mark.parametrize("level", [1, 2, 5])
def test_a_level_keeps_its_share_of_ids_however_they_are_made(name: str, level: int) -> None:
    """Also of ids that only count up."""
    count = 20_000
    kept = sum(rank_of(name.format(i)) >= level for i in range(count))
    expected = count * share_kept(level)

    assert abs(kept - expected) < 5 * expected**0.5


@given(st.text(st.characters(blacklist_characters=" ")), st.integers(1, 10_000))
def test_an_answer_is_drawn_together_with_those_of_its_shadows(request_id: str, version: int) -> None:
    """So a label that counts for the one counts for the others."""
    assert 0 <= rank_of(request_id) <= MAX_RANK
    assert rank_of(shadow_id(request_id, version)) == rank_of(request_id)
