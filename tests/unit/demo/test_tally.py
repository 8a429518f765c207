"""What the replay's tally says of its answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.tally import Answer, Tally, quantile


def _answer(at: float, variant: str, latency_s: float = 0.001, *, ok: bool = True) -> Answer:
    return Answer(at, variant, "1", latency_s, ok)


def test_shares_and_rates_are_of_the_window_alone() -> None:
    """Old answers leave the rates and stay in the totals."""
    tally = Tally(window_s=10)
    for at in range(10):
        tally.add(_answer(float(at), "stable"))
    for at in range(10, 20):
        tally.add(_answer(float(at), "canary"))

    canary, stable = tally.rows(now=19.5)

    assert (canary.variant, canary.share, canary.per_second) == ("canary", 1.0, 1.0)
    assert (stable.variant, stable.share, stable.total) == ("stable", 0.0, 10)
    assert tally.total == 20


def test_an_error_is_never_forgotten() -> None:
    """Errors are counted over the whole run, however long ago."""
    tally = Tally(window_s=1)
    tally.add(_answer(0.0, "stable", ok=False))
    tally.add(_answer(100.0, "stable"))

    (row,) = tally.rows(now=100.5)

    assert row.errors == tally.errors == 1


def test_nothing_seen_gives_no_rows() -> None:
    """A tally may be asked before the first answer."""
    assert Tally().rows(now=5.0) == []


def test_quantiles_are_nearest_ranks() -> None:
    """The quantile is a value that occurred."""
    ordered = [float(value) for value in range(1, 101)]

    assert [quantile(ordered, p) for p in (0.0, 0.5, 0.95, 0.99, 1.0)] == [1.0, 50.0, 95.0, 99.0, 100.0]
    assert quantile([], 0.5) == 0.0


@given(st.lists(st.sampled_from(["stable", "canary", "third"]), min_size=1))
def test_shares_sum_to_one(variants: list[str]) -> None:
    """Every answer in the window belongs to exactly one variant."""
    tally = Tally(window_s=10)
    for variant in variants:
        tally.add(_answer(1.0, variant))

    assert sum(row.share for row in tally.rows(now=2.0)) == pytest.approx(1.0)
