"""Shares as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cli.shares import format_percent, parse_percent, parse_variants


@given(st.integers(0, 10_000))
def test_a_share_reads_back_as_it_was_written(basis_points: int) -> None:
    """Basis points are two decimals of a percent, no more and no less."""
    assert parse_percent(format_percent(basis_points)) == basis_points


@pytest.mark.parametrize(
    ("text", "basis_points"), [("95%", 9500), ("12.5%", 1250), ("0.01%", 1), ("100", 10_000), ("0%", 0), ("5 %", 500)]
)
def test_percent_signs_and_decimals_are_read(text: str, basis_points: int) -> None:
    """Up to two decimals; the sign may be left out."""
    assert parse_percent(text) == basis_points


@pytest.mark.parametrize("text", ["", "%", "101%", "-1%", "0.001%", "1e2%", "12,5%", "\u0665%", "100.01%"])
def test_what_is_no_percentage_is_refused_by_name(text: str) -> None:
    """The message repeats it and gives an example."""
    with pytest.raises(ValueError, match=r"as 12\.5%"):
        parse_percent(text)


def test_items_become_variants_in_order() -> None:
    """name=version:percent."""
    assert parse_variants(["stable=3:95%", "canary=4:5%"]) == [
        {"name": "stable", "version": 3, "weight": 9500},
        {"name": "canary", "version": 4, "weight": 500},
    ]


@pytest.mark.parametrize("items", [["stable=3:90%"], ["a=1:60%", "b=2:60%"], []])
def test_shares_must_sum_to_the_whole(items: list[str]) -> None:
    """The message tells the sum."""
    with pytest.raises(ValueError, match="sum to"):
        parse_variants(items)


@pytest.mark.parametrize("item", ["stable", "stable=3", "=3:100%", "stable=x:100%", "stable:3=100%", "-a=3:100%"])
def test_a_malformed_item_is_shown_with_the_form(item: str) -> None:
    """So that the next try is right."""
    with pytest.raises(ValueError, match="name=version:percent"):
        parse_variants([item])
